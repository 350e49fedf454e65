"""Connection URLs, as Prisma writes them.

PostgreSQL: `postgresql://user:password@host:port/database?schema=public&connection_limit=5&...`, a unix socket as
`?host=/folder`. SQLite: `file:./dev.db`, relative to the current directory, or `file:/absolute/path.db`, or
`file::memory:`; `sqlite:///./dev.db` and `sqlite:////absolute/path.db` mean the same files as with SQLAlchemy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from prisma_inprocess.date_format import DateFormat
from prisma_inprocess.errors import ConfigurationError
from prisma_inprocess.tls import Tls, read_tls

DEFAULT_PLAN_CACHE_SIZE = 1000


@dataclass(slots=True, frozen=True)
class PostgresUrl:
    """A PostgreSQL URL, taken apart. Its `repr` shows no password.

    Attributes:
        host: Host name, address, or the folder of a unix socket.
        schema: The schema that tables live in (`schema=`), or None for the server's default.
        connection_limit: Most connections open at a time (`connection_limit=`, default: twice the CPUs plus one).
        connect_timeout: Seconds to wait for a new connection (`connect_timeout=`, default 5).
        pool_timeout: Seconds to wait for a free connection (`pool_timeout=`, default 10); None waits without end
            (`pool_timeout=0`).
        statement_timeout: Seconds to wait for the answer to a statement (`socket_timeout=`), or None.
        statement_cache_size: Prepared statements kept per connection (`statement_cache_size=`, default 100; 0
            with `pgbouncer=true`).
        pgbouncer: Whether a transaction-pooling proxy stands between (`pgbouncer=true`).
        keepalives: Whether the kernel asks a silent server whether it is there (`keepalives=`, default 1).
        keepalives_idle: Seconds of silence before it asks (`keepalives_idle=`, default 15).
        keepalives_interval: Seconds between two questions (`keepalives_interval=`, default 5).
        keepalives_count: Unanswered questions after which the connection is lost (`keepalives_count=`, default 3).
        tcp_user_timeout: Seconds that sent data may stay unacknowledged (`tcp_user_timeout=` in milliseconds, as in
            libpq; default 30000; 0 leaves it to the system).
        tls: The requirements on the server before it receives the password (`sslmode=`, `sslaccept=`, `sslcert=`).
    """

    host: str | None
    port: int
    user: str | None
    password: str | None
    database: str
    schema: str | None
    connection_limit: int
    connect_timeout: float
    pool_timeout: float | None
    statement_timeout: float | None
    statement_cache_size: int
    pgbouncer: bool
    keepalives: bool
    keepalives_idle: int
    keepalives_interval: int
    keepalives_count: int
    tcp_user_timeout: float
    tls: Tls
    application_name: str | None
    plan_cache_size: int

    def __repr__(self) -> str:
        return f"PostgresUrl({self.address}, database={self.database!r})"

    @property
    def search_path(self) -> str | None:
        """Where raw statements find tables, as SQL; planned statements name the schema. None: the server's default."""
        return None if self.schema is None else '"' + self.schema.replace('"', '""') + '"'

    @property
    def address(self) -> str:
        """`host:port` for messages."""
        return f"{self.host or 'localhost'}:{self.port}"


@dataclass(slots=True, frozen=True)
class SqliteUrl:
    """A SQLite URL, taken apart.

    Attributes:
        path: Absolute path of the file, or `:memory:`.
        connection_limit: One writer plus this many minus one readers (`connection_limit=`, default 5).
        busy_timeout: Seconds to wait while another process writes (`socket_timeout=`, default 5).
        pool_timeout: Seconds to wait for a free connection (`pool_timeout=`, default 10); None waits without end
            (`pool_timeout=0`).
        dates: How the file stores DateTime values (`timestampFormat=`, as Prisma's adapters call it), or None to take
            what the file has.
    """

    path: str
    connection_limit: int
    busy_timeout: float
    pool_timeout: float | None
    plan_cache_size: int
    dates: DateFormat | None

    @property
    def in_memory(self) -> bool:
        return self.path == ":memory:"


def parse_postgres_url(url: str) -> PostgresUrl:
    """Take a PostgreSQL URL apart. Raises: ConfigurationError naming the part that is wrong, never the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            "the PostgreSQL URL cannot be parsed; special characters in a password must be percent-encoded"
        ) from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"a PostgreSQL URL must start with `postgresql://`, not with `{parts.scheme}:`")
    options = _Options(parts.query)
    pgbouncer = options.boolean("pgbouncer")
    user = unquote(parts.username) if parts.username else None
    host = options.text("host") or (unquote(parts.hostname) if parts.hostname else None)
    return PostgresUrl(
        host=host,
        port=port or 5432,
        user=user,
        password=unquote(parts.password) if parts.password else None,
        database=unquote(parts.path.lstrip("/")) or user or "postgres",
        schema=options.text("schema"),
        connection_limit=options.integer("connection_limit", (os.cpu_count() or 1) * 2 + 1, minimum=1),
        connect_timeout=options.seconds("connect_timeout", 5.0) or 5.0,
        pool_timeout=options.seconds("pool_timeout", 10.0) or None,
        statement_timeout=options.seconds("socket_timeout", 0.0) or None,
        statement_cache_size=0 if pgbouncer else options.integer("statement_cache_size", 100, minimum=0),
        pgbouncer=pgbouncer,
        keepalives=options.integer("keepalives", 1, minimum=0) > 0,
        keepalives_idle=options.integer("keepalives_idle", 15, minimum=1),
        keepalives_interval=options.integer("keepalives_interval", 5, minimum=1),
        keepalives_count=options.integer("keepalives_count", 3, minimum=1),
        tcp_user_timeout=options.integer("tcp_user_timeout", 30_000, minimum=0) / 1000,
        tls=read_tls(options.given),
        application_name=options.text("application_name"),
        plan_cache_size=options.integer("plan_cache_size", DEFAULT_PLAN_CACHE_SIZE, minimum=1),
    )


def parse_sqlite_url(url: str) -> SqliteUrl:
    """Take a SQLite URL apart. Raises: ConfigurationError for a URL that is not `file:`."""
    for prefix in ("file:", "sqlite:"):
        if url.startswith(prefix):
            rest = url.removeprefix(prefix)
            break
    else:
        raise ConfigurationError("a SQLite URL must start with `file:`, for instance `file:./dev.db`")
    path, _, query = rest.partition("?")
    if prefix == "sqlite:" and path.startswith("///"):
        # SQLAlchemy's way to write one: `sqlite:///./dev.db` is relative, and `sqlite:////srv/dev.db` is not.
        path = path.removeprefix("///")
    elif path.startswith("//"):
        path = "/" + path.lstrip("/")
    if not path:
        raise ConfigurationError("the SQLite URL names no file, for instance `file:./dev.db`")
    options = _Options(query)
    return SqliteUrl(
        path=path if path == ":memory:" else str(Path(path).absolute()),
        connection_limit=options.integer("connection_limit", 5, minimum=1),
        busy_timeout=options.seconds("socket_timeout", 5.0),
        pool_timeout=options.seconds("pool_timeout", 10.0) or None,
        plan_cache_size=options.integer("plan_cache_size", DEFAULT_PLAN_CACHE_SIZE, minimum=1),
        dates=_date_format(options.text("timestampFormat")),
    )


def _date_format(name: str | None) -> DateFormat | None:
    if name is None:
        return None
    try:
        return DateFormat(name)
    except ValueError:
        raise ConfigurationError(
            f"timestampFormat={name} in the connection URL must be {' or '.join(DateFormat)}"
        ) from None


class _Options:
    """The part of a URL after the question mark."""

    def __init__(self, query: str) -> None:
        self.given = parse_qsl(query, keep_blank_values=True)
        self._values: Mapping[str, str] = dict(self.given)

    def text(self, name: str) -> str | None:
        return self._values.get(name) or None

    def boolean(self, name: str) -> bool:
        return self._values.get(name, "").lower() in ("true", "1", "yes", "on")

    def integer(self, name: str, default: int, *, minimum: int) -> int:
        raw = self.text(name)
        if raw is None:
            return default
        if not raw.isdecimal() or int(raw) < minimum:
            raise ConfigurationError(f"{name}={raw} in the connection URL must be a whole number, at least {minimum}")
        return int(raw)

    def seconds(self, name: str, default: float) -> float:
        raw = self.text(name)
        if raw is None:
            return default
        try:
            value = float(raw)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e9:
            raise ConfigurationError(f"{name}={raw} in the connection URL must be a number of seconds")
        return value
