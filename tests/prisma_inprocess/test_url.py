"""Connection URLs: every part is understood, a wrong one is named, and a password is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from prisma_inprocess import ConfigurationError
from prisma_inprocess.url import parse_postgres_url, parse_sqlite_url


def test_a_postgresql_url_is_taken_apart() -> None:
    url = parse_postgres_url(
        "postgresql://ada:p%40ss%2Fword@db.example.org:6543/orders?schema=Sales&connection_limit=7&pool_timeout=3"
        "&connect_timeout=2.5&socket_timeout=9&sslmode=require&statement_cache_size=5&application_name=shop"
    )
    assert (url.host, url.port, url.user, url.password) == ("db.example.org", 6543, "ada", "p@ss/word")
    assert (url.database, url.schema, url.tls.mode, url.application_name) == ("orders", "Sales", "require", "shop")
    assert (url.connection_limit, url.pool_timeout, url.connect_timeout) == (7, 3.0, 2.5)
    assert (url.statement_timeout, url.statement_cache_size) == (9.0, 5)


def test_a_short_postgresql_url_has_defaults() -> None:
    url = parse_postgres_url("postgres://localhost/orders")
    assert (url.host, url.port, url.schema, url.tls.mode) == ("localhost", 5432, None, None)
    assert (url.connect_timeout, url.pool_timeout, url.statement_timeout) == (5.0, 10.0, None)
    assert (url.pgbouncer, url.statement_cache_size) == (False, 100)
    assert (url.keepalives, url.keepalives_idle, url.keepalives_interval, url.keepalives_count) == (True, 15, 5, 3)
    assert url.tcp_user_timeout == 30


def test_the_kernels_watch_over_connections_is_spelt_as_in_libpq() -> None:
    url = parse_postgres_url("postgresql://h/d?keepalives=0&keepalives_idle=7&keepalives_count=2&tcp_user_timeout=1500")
    assert (url.keepalives, url.keepalives_idle, url.keepalives_interval, url.keepalives_count) == (False, 7, 5, 2)
    assert url.tcp_user_timeout == 1.5


def test_a_unix_socket_is_named_by_the_host_option() -> None:
    assert parse_postgres_url("postgresql://postgres:@/postgres?host=/run/postgresql").host == "/run/postgresql"


def test_pgbouncer_turns_prepared_statements_off() -> None:
    assert parse_postgres_url("postgresql://h/d?pgbouncer=true&statement_cache_size=9").statement_cache_size == 0


def test_a_pool_timeout_of_zero_waits_for_ever() -> None:
    assert parse_postgres_url("postgresql://h/d?pool_timeout=0").pool_timeout is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://ada:hunter2@h/d", "mysql"),
        ("postgresql://ada:hunter2@h:port/d", "percent-encoded"),
        ("postgresql://ada:hunter2@h/d?connection_limit=0", "connection_limit"),
        ("postgresql://ada:hunter2@h/d?connection_limit=many", "connection_limit"),
        ("postgresql://ada:hunter2@h/d?connect_timeout=soon", "connect_timeout"),
        ("postgresql://ada:hunter2@h/d?pool_timeout=-1", "pool_timeout"),
        ("postgresql://ada:hunter2@h/d?sslmode=maybe", "sslmode"),
        ("postgresql://ada:hunter2@h/d?sslidentity=x.p12", "sslidentity"),
    ],
)
def test_a_wrong_postgresql_url_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as failure:
        parse_postgres_url(url)
    assert "hunter2" not in str(failure.value)


def test_a_parsed_url_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(parse_postgres_url("postgresql://ada:hunter2@h/d"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:./dev.db", "dev.db"),
        ("file:data/dev.db", "data/dev.db"),
        ("file:/srv/dev.db", "/srv/dev.db"),
        ("file:///srv/dev.db", "/srv/dev.db"),
        ("sqlite:/srv/dev.db", "/srv/dev.db"),
        ("sqlite:///./dev.db", "dev.db"),
        ("sqlite:///dev.db?connection_limit=1", "dev.db"),
        ("sqlite:////srv/dev.db", "/srv/dev.db"),
        ("file:/srv/dev.db?connection_limit=1", "/srv/dev.db"),
    ],
)
def test_a_sqlite_path_is_relative_to_the_current_folder(url: str, path: str) -> None:
    assert parse_sqlite_url(url).path == str(Path(path).absolute())


def test_sqlite_options_are_understood() -> None:
    url = parse_sqlite_url("file:x.db?connection_limit=3&socket_timeout=1.5&pool_timeout=0&plan_cache_size=7")
    assert (url.connection_limit, url.busy_timeout, url.pool_timeout, url.plan_cache_size) == (3, 1.5, None, 7)
    assert parse_sqlite_url("file::memory:").path == ":memory:"


@pytest.mark.parametrize(
    "url",
    ["dev.db", "postgresql://h/d", "file:", "sqlite:///", "sqlite+aiosqlite:///x.db", "file:x.db?connection_limit=0"],
)
def test_a_wrong_sqlite_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_sqlite_url(url)
