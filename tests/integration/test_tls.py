"""Who is given the database's password: the server that the URL asks for, and nobody in between.

A listener speaks as much of PostgreSQL's protocol as it takes to be told a password in clear.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trustme

from example_app.clients import postgresql
from fastapi_durable import PostgresWakeups
from fastapi_durable.errors import ConfigurationError
from prisma_inprocess import ConfigurationError as UrlError
from tests.support.engine_rig import until

PASSWORD: Final = "hunter2"
_SSL_REQUEST: Final = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_ASK_FOR_PASSWORD: Final = b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big")
_REFUSAL_FIELDS: Final = b"SFATAL\0VFATAL\0C28P01\0Mno\0\0"
_REFUSAL: Final = b"E" + (len(_REFUSAL_FIELDS) + 4).to_bytes(4, "big") + _REFUSAL_FIELDS

Connect = Callable[["Listener", str], Awaitable[None]]
"""Connects by a URL with these options, to the end of the conversation."""


@dataclass
class Listener:
    """Something at the database's address."""

    port: int
    passwords: list[str] = field(default_factory=list)


@asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[Listener]:
    """A listener that asks whoever connects for the password; None: without TLS."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first == _SSL_REQUEST:
            writer.write(b"S" if context is not None else b"N")
            if context is not None:
                await writer.start_tls(context)
            first = await reader.readexactly(8)
        await reader.readexactly(int.from_bytes(first[:4], "big") - 8)
        writer.write(_ASK_FOR_PASSWORD)
        head = await reader.readexactly(5)
        said = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        found.passwords.append(said.rstrip(b"\0").decode())
        writer.write(_REFUSAL)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await converse(reader, writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    found = Listener(server.sockets[0].getsockname()[1])
    async with server:
        yield found


@dataclass(frozen=True)
class Authorities:
    """The application's own authority, whose certificate is in a file, and somebody else's."""

    own: trustme.CA
    file: Path
    foreign: trustme.CA

    def server(self, kind: str) -> ssl.SSLContext | None:
        """What stands at the address: the database itself, or one of those that would like to be taken for it."""
        if kind == "plain":
            return None
        authority = self.foreign if kind == "another authority" else self.own
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        name = "elsewhere.example" if kind == "another name" else "localhost"
        authority.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    own = trustme.CA()
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    own.cert_pem.write_to_path(str(file))
    return Authorities(own, file, trustme.CA())


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["client", "wakeups"])
def connect(request: pytest.FixtureRequest, authorities: Authorities, caplog: pytest.LogCaptureFixture) -> Connect:
    async def by_client(found: Listener, options: str) -> None:
        client = postgresql.Prisma(datasource={"url": url_of(found, options, authorities)}, use_dotenv=False)
        with suppress(postgresql.errors.PrismaError):
            await client.connect()

    async def by_wakeups(found: Listener, options: str) -> None:
        async with PostgresWakeups(url_of(found, options, authorities)).joined(lambda _: None):
            await until(lambda: _said(caplog, "notifications are interrupted"))
        caplog.clear()

    return by_client if request.param == "client" else by_wakeups


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


def url_of(listener: Listener, options: str, authorities: Authorities) -> str:
    options = options.replace("CERT", str(authorities.file))
    return f"postgresql://ada:{PASSWORD}@localhost:{listener.port}/orders?connect_timeout=2&{options}"


VERIFIED = [
    "sslcert=CERT",
    "sslrootcert=CERT",
    "sslmode=allow&sslcert=CERT",
    "sslmode=prefer&sslcert=CERT",
    "sslmode=require&sslcert=CERT",
    "sslmode=verify-full&sslcert=CERT",
    "sslaccept=strict&sslcert=CERT",
    "sslmode=prefer&sslaccept=strict&sslcert=CERT",
    "sslmode=require&sslaccept=strict&sslcert=CERT",
    "sslmode=verify-ca&sslaccept=strict&sslcert=CERT",
]
"""Options that ask for the database itself, of the application's own authority."""

BY_THE_SYSTEM = ["sslaccept=strict", "sslmode=require&sslaccept=strict", "sslmode=verify-full", "sslmode=verify-ca"]
"""Options that ask for an authority that the system knows, or that libpq's own file names."""


@pytest.mark.parametrize("options", [*VERIFIED, *BY_THE_SYSTEM])
@pytest.mark.parametrize("kind", ["plain", "another authority", "another name"])
async def test_nobody_in_between_is_given_the_password(
    options: str, kind: str, authorities: Authorities, connect: Connect
) -> None:
    async with listening(authorities.server(kind)) as found:
        await connect(found, options)
    assert found.passwords == []


@pytest.mark.parametrize("options", VERIFIED)
async def test_the_database_itself_is_given_the_password(
    options: str, authorities: Authorities, connect: Connect
) -> None:
    async with listening(authorities.server("the database")) as found:
        await connect(found, options)
    assert set(found.passwords) == {PASSWORD}


async def test_verify_ca_accepts_any_name_of_the_authority_and_no_other_authority(
    authorities: Authorities, connect: Connect
) -> None:
    for kind, expected in (("another name", {PASSWORD}), ("another authority", set())):
        async with listening(authorities.server(kind)) as found:
            await connect(found, "sslmode=verify-ca&sslcert=CERT")
        assert set(found.passwords) == expected


async def test_without_a_wish_for_verification_any_server_is_taken(authorities: Authorities, connect: Connect) -> None:
    for options in ("sslmode=require", "sslaccept=accept_invalid_certs", "sslmode=disable"):
        async with listening(authorities.server("another authority")) as found:
            await connect(found, options)
        assert set(found.passwords) == {PASSWORD}, options
    async with listening(None) as found:
        await connect(found, "sslmode=require")
    assert found.passwords == []


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=disable&sslcert=CERT",
        "sslmode=disable&sslaccept=strict",
        "sslaccept=accept_invalid_certs&sslcert=CERT",
        "sslaccept=accept_invalid_certs&sslmode=verify-full",
        "sslaccept=sometimes",
        "sslaccept=",
        "sslmode=",
        "sslcert=",
        "sslmode=verify-full&sslmode=disable",
        "sslcert=CERT&sslrootcert=other.pem",
        "sslcert=missing.pem",
        "sslkey=client.key",
        "sslrootcrt=CERT",
        "SSLMODE=verify-full",
        "ssl=true",
        "ssl_min_protocol_version=TLSv1.3",
        "sslidentity=x.p12",
        "sslpassword=x",
        "channel_binding=require",
        "require_auth=scram-sha-256",
        "gssencmode=require",
        "requiressl=1",
    ],
)
async def test_options_that_contradict_each_other_or_are_not_known_are_errors(
    options: str, authorities: Authorities
) -> None:
    """A misspelt wish must not be a wish that nobody made."""
    async with listening(None) as found:
        url = url_of(found, options, authorities)
        with pytest.raises(UrlError) as refused:
            await postgresql.Prisma(datasource={"url": url}, use_dotenv=False).connect()
        with pytest.raises(ConfigurationError) as refused_too:
            PostgresWakeups(url)
    assert str(refused.value) == str(refused_too.value)
    assert PASSWORD not in str(refused.value)
    assert found.passwords == []
