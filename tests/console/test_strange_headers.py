"""What a browser is made to send: names that lead elsewhere, and headers that cannot be read."""

from itertools import product
from typing import Any

import pytest
from fastapi import Depends

from fastapi_durable.errors import ConfigurationError
from fastapi_durable.web import router
from fastapi_durable.web.stream_routes import stream_routes
from tests.console.desk import desk
from tests.console.test_access import ID, call, changes, login, populated, routes, snapshot
from tests.console.test_login import COOKIE, login_desk, sign_in
from tests.support.new_stores import on_new_stores

pytestmark = on_new_stores

FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example#localhost",
    "evil.example@localhost",
    "localhost@evil.example",
    "localhost:80:80",
    "localhost:x",
    "notlocalhost",
    "10.0.0.7",
    "0.0.0.0",  # noqa: S104 (a name that a browser is given, and nothing that is bound)
    "[::]",
    "[2001:db8::1]",
    "[",
    "[::1",
    "::1",
    "",
    "http://localhost",
    "\xff",
]
OWN_HOSTS = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "shop.localhost:8000",
    "127.0.0.1:8000",
    "127.8.9.1",
    "[::1]",
    "[::1]:8000",
    "[::ffff:127.0.0.1]",
]
DOORS = [("GET", "login"), ("POST", "login"), ("POST", "logout")]
UNREADABLE = [
    "http://[",
    "http://[::1",
    "[",
    "http://",
    "://",
    "null",
    "",
    "http://localhost:x",
    "http:\\\\localhost",
    "\xff",
]


@pytest.fixture(autouse=True)
def _streams_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "stream_routes", lambda: stream_routes(lifetime=0))


async def test_a_console_without_a_guard_is_not_there_under_a_name_that_others_may_own() -> None:
    """A page of evil.example may have its own name mean 127.0.0.1, and is of one origin with the console then."""
    async with desk() as found:
        await populated(found)
        before = await snapshot(found)
        tried = [*routes(found.app), ("GET", "/durable/"), ("GET", "/durable/assets/app.js")]
        for host in FOREIGN_HOSTS:
            for method, path in tried:
                response = await call(found, method, path, host=host, origin=f"http://{host}")
                assert response.status_code == 403, (host, method, path)
                assert ID not in response.text.replace(path, "")
            assert await snapshot(found) == before, host


async def test_a_console_without_a_guard_answers_to_the_names_of_this_machine() -> None:
    async with desk() as found:
        for number, host in enumerate(OWN_HOSTS):
            await found.waits(f"t{number}", f"{ID}-{number}")
            for path in ("/durable/api/runs", "/durable/"):
                assert (await call(found, "GET", path, host=host)).status_code == 200, host
            cancel = f"/durable/api/runs/{ID}-{number}/cancel"
            cancelled = await call(found, "POST", cancel, host=host, origin=f"http://{host}")
            assert cancelled.status_code == 200, host


async def test_other_names_of_a_console_without_a_guard_are_listed() -> None:
    """As for one in a network of its own, or behind a proxy that asks who comes."""
    async with desk(allow_unauthenticated=True, hosts=["console.internal", "10.0.0.7"]) as found:
        for host, status in {
            "console.internal": 200,
            "Console.Internal:8443": 200,
            "10.0.0.7:8000": 200,
            "localhost": 200,
            "evil.example": 403,
            "x.console.internal": 403,
        }.items():
            assert (await call(found, "GET", "/durable/api/runs", host=host)).status_code == status, host


@pytest.mark.parametrize(
    ("options", "readable", "changeable"),
    [
        ({"view": [Depends(login)], "allow_unauthenticated": True}, True, False),
        ({"operate": [Depends(login)]}, False, True),
        ({"dependencies": [Depends(login)]}, True, True),
    ],
)
async def test_what_is_guarded_answers_to_every_name(options: dict[str, Any], readable: bool, changeable: bool) -> None:
    async with desk(**options) as found:
        await populated(found)
        for method, path in routes(found.app):
            response = await call(found, method, path, host="shop.example", authorization="operator")
            refused = response.status_code == 403
            assert refused is not (changeable if changes(method) else readable), (method, path)


@pytest.mark.slow
@pytest.mark.parametrize("header", ["origin", "host", "referer", "sec-fetch-site"])
async def test_headers_that_cannot_be_read_are_refused_or_passed_over_and_break_nothing(header: str) -> None:
    """On every route, for strangers and for those who have signed in, as on the login page itself."""
    async with login_desk() as found:
        await sign_in(found, "otto")
        cookie = {"cookie": f"{COOKIE}={found.client.cookies[COOKIE]}"}
        found.client.cookies.clear()
        pages = [
            ("GET", "/durable/"),
            ("GET", "/durable/login"),
            ("POST", "/durable/login"),
            ("POST", "/durable/logout"),
        ]
        for value, signed_in in product(UNREADABLE, ({}, cookie)):
            for method, path in [*routes(found.app), *pages]:
                answer = await call(found, method, path, **{header: value}, **signed_in)
                assert answer.status_code < 500, (value, method, path, answer.status_code)
                if method == "POST" and header in ("origin", "sec-fetch-site"):
                    assert answer.status_code == 403, (value, method, path)


async def test_the_second_of_two_origins_counts_as_well() -> None:
    async with desk() as found:
        await found.waits("t", ID)
        for origin in ("http://evil.example", "http://[", "null", ""):
            headers = [("origin", "http://localhost"), ("origin", origin)]
            answer = await found.client.post(f"runs/{ID}/cancel", headers=headers)
            assert answer.status_code == 403, origin


@pytest.mark.parametrize("hosts", ["localhost", ["localhost:80"], ["http://x"], [""], [7], ["[::"]])
async def test_names_that_cannot_be_a_host_are_refused_where_the_console_is_made(hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match="hosts must"):
        async with desk(allow_unauthenticated=True, hosts=hosts):
            pass
