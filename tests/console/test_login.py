"""The console's own login."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, HTTPException

from fastapi_durable import ConsoleLogin, ConsoleUser, LoginCredentialsDep
from fastapi_durable.errors import ConfigurationError
from fastapi_durable.testing import HandClock
from fastapi_durable.web.login.session import SessionSigner
from fastapi_durable.web.login.throttle import AttemptThrottle
from tests.console.desk import Desk, desk
from tests.console.test_reading import stored
from tests.support.new_stores import on_new_stores

SECRET = "a-secret-that-is-long-enough-for-anybody"
USERS = {
    "vera": ConsoleUser(name="vera"),
    "otto": ConsoleUser(name="otto", role="operate"),
    "theo": ConsoleUser(name="theo", role="operate", namespace="elsewhere"),
}
PASSWORD = "hunter2-but-longer"
COOKIE_NAME = "durable_dashboard_session"
COOKIE = f"__Host-{COOKIE_NAME}"


def directory() -> dict[str, ConsoleUser]:
    return USERS


async def authenticate(
    credentials: LoginCredentialsDep, users: Annotated[dict[str, ConsoleUser], Depends(directory)]
) -> ConsoleUser | None:
    found = [user for name, user in users.items() if credentials.matches(name, PASSWORD)]
    return found[0] if found else None


@asynccontextmanager
async def login_desk(**changes: Any) -> AsyncIterator[Desk]:
    options = {"authenticate": authenticate, "secret": SECRET, **changes}
    async with desk(login=ConsoleLogin(**options)) as found:
        found.client.base_url = httpx.URL("https://localhost/durable/")
        yield found


async def sign_in(found: Desk, name: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    """As a browser sends the form."""
    return await found.client.post(
        "login",
        data={"username": name, "password": password, **fields},
        headers={"sec-fetch-site": "same-origin", "origin": "https://localhost"},
    )


@on_new_stores
async def test_a_stranger_is_sent_to_the_login_page_and_back_to_the_view_that_was_wanted() -> None:
    """Without a script: the page is a form, and the answers are redirects."""
    async with login_desk() as found:
        refused = await found.client.get("?page=runs&status=failed")
        assert (refused.status_code, refused.headers["location"]) == (
            303,
            "login?next=%3Fpage%3Druns%26status%3Dfailed",
        )
        page = await found.client.get(refused.headers["location"])
        assert page.status_code == 200
        assert '<input type="hidden" name="next" value="?page=runs&amp;status=failed">' in page.text
        assert "script" not in page.text
        for name in ("style.css", "login.css", "icon.svg"):
            assert f"assets/{name}" in page.text
            assert (await found.client.get(f"assets/{name}")).status_code == 200
        response = await sign_in(found, "vera", next="?page=runs&status=failed")
        assert (response.status_code, response.headers["location"]) == (303, "./?page=runs&status=failed")
        assert (await found.client.get("?page=runs")).status_code == 200
        assert (await found.client.get("login", params={"next": "?page=runs"})).headers["location"] == "./?page=runs"
        assert (await found.client.get("api/runs")).status_code == 200


@on_new_stores
async def test_a_program_signs_in_with_json() -> None:
    async with login_desk() as found:
        good = {"username": "vera", "password": PASSWORD}
        assert (await found.client.post("login", json={**good, "password": "x"})).status_code == 401
        response = await found.client.post("login", json=good)
        assert (response.status_code, response.json()) == (200, {"redirect_to": "./"})
        assert (await found.client.get("api/runs")).status_code == 200


@on_new_stores
async def test_the_cookie_is_for_the_browser_alone() -> None:
    """No script reads it, no plain connection carries it, and no other site's request that changes something does."""
    async with login_desk(lifetime="1h") as found:
        cookie = (await sign_in(found, "vera")).headers["set-cookie"]
        assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
            "httponly",
            "secure",
            "samesite=lax",
            "path=/",
            "max-age=3600",
        }


@on_new_stores
async def test_a_cookie_that_a_neighbour_has_set_is_not_read() -> None:
    """Another host of the domain can set a cookie for all of it, but none whose name begins with `__Host-`."""
    async with login_desk() as found:
        answer = await sign_in(found, "otto")
        assert answer.headers["set-cookie"].startswith(f"{COOKIE}=")
        value = found.client.cookies[COOKIE]
        found.client.cookies.clear()
        forged = {"cookie": f"{COOKIE_NAME}={value}"}
        assert (await found.client.get("api/runs", headers=forged)).status_code == 401
        assert (await found.client.get("api/runs", headers={"cookie": f"{COOKIE}={value}"})).status_code == 200


@on_new_stores
async def test_without_https_a_user_signs_in_and_out_again() -> None:
    """As browsers do it: without a secure origin they send no `Sec-Fetch-Site`, and the page decides on `Origin`."""
    async with login_desk(secure=False) as found:
        found.client.base_url = httpx.URL("http://console.internal/durable/")
        origin = "http://console.internal"
        login = await found.client.get("login")
        answer = await found.client.post(
            "login",
            data={"username": "vera", "password": PASSWORD},
            headers={"origin": _origin_of_a_form(login, origin)},
        )
        assert answer.status_code == 303
        assert "__host-" not in answer.headers["set-cookie"].lower()
        page = await found.client.get("")
        left = await found.client.post("logout", headers={"origin": _origin_of_a_form(page, origin)})
        assert (left.status_code, left.headers["location"]) == (303, "login")
        assert (await found.client.get("api/runs")).status_code == 401


def _origin_of_a_form(page: httpx.Response, origin: str) -> str:
    """What a browser sends with a form of this page (Fetch, "append a request Origin header")."""
    return "null" if page.headers["referrer-policy"] == "no-referrer" else origin


@on_new_stores
async def test_a_wrong_name_and_a_wrong_password_look_alike() -> None:
    """And nothing that was typed is shown or logged but the name, which the form keeps."""
    async with login_desk() as found:
        answers = [await sign_in(found, "vera", "wrong"), await sign_in(found, "nobody")]
        assert [answer.status_code for answer in answers] == [401, 401]
        first, second = (answer.text.replace("vera", "").replace("nobody", "") for answer in answers)
        assert first == second
        assert "wrong" not in first
        assert not any("set-cookie" in answer.headers for answer in answers)


@on_new_stores
async def test_passwords_and_secrets_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with login_desk() as found:
            await sign_in(found, "vera", "a-wrong-password")
            await sign_in(found, "vera")
            await found.client.post("login", json={"username": "vera", "password": 7})
            cookie = found.client.cookies[COOKIE]
    text = caplog.text + repr(ConsoleLogin(authenticate=authenticate, secret=SECRET))
    assert "signed in" in text
    assert not any(secret in text for secret in ("a-wrong-password", PASSWORD, SECRET, cookie))


@on_new_stores
async def test_after_the_login_a_browser_goes_to_a_view_of_this_console_and_nowhere_else() -> None:
    targets = [
        "https://elsewhere/",
        "//elsewhere",
        "/\\elsewhere",
        "\\\\elsewhere",
        "/durable/",
        "javascript:alert(1)",
        "?a\r\nset-cookie: x=y",
        "?a\\b",
        "? //elsewhere",
        "./?page=runs",
        "?" + "a" * 3000,
        "?ü",
    ]
    async with login_desk() as found:
        for target in targets:
            found.client.cookies.clear()
            assert (await sign_in(found, "vera", next=target)).headers["location"] == "./", target
            answer = await found.client.get("login", params={"next": target})
            assert answer.headers["location"] == "./", target


@on_new_stores
async def test_a_cookie_that_was_not_written_here_is_worth_nothing() -> None:
    async with login_desk() as found:
        await sign_in(found, "otto")
        cookie = found.client.cookies[COOKIE]
        found.client.cookies.clear()
        foreign = SessionSigner(["another-secret-" * 3], timedelta(hours=1), COOKIE_NAME)
        tampered = [
            cookie[:-2] + ("AA" if not cookie.endswith("AA") else "BB"),
            "x" + cookie,
            cookie.partition(".")[0],
            cookie.partition(".")[0] + ".",
            "." + cookie.partition(".")[2],
            foreign.issue(USERS["otto"], HandClock().now()),
            "a" * 5000,
            "%FF.%FF",
            "",
        ]
        for wrong in tampered:
            response = await found.client.get("api/runs", headers={"cookie": f"{COOKIE}={wrong}"})
            assert response.status_code == 401, wrong
            assert response.json()["type"] == "urn:fastapi-durable:not-signed-in", wrong
        # The cookie itself is good: what was wrong was changed.
        assert (await found.client.get("api/runs", headers={"cookie": f"{COOKIE}={cookie}"})).status_code == 200


@on_new_stores
async def test_a_session_ends_when_its_time_is_over() -> None:
    """The cookie itself says when, and it is signed: a browser that keeps it longer gains nothing."""
    clock = HandClock()
    async with login_desk(clock=clock, lifetime="1h") as found:
        await sign_in(found, "vera")
        cookie = {"cookie": f"{COOKIE}={found.client.cookies[COOKIE]}"}
        clock.move(minutes=59)
        assert (await found.client.get("api/runs", headers=cookie)).status_code == 200
        clock.move(minutes=1)
        assert (await found.client.get("api/runs", headers=cookie)).status_code == 401


@on_new_stores
async def test_a_session_in_its_second_half_is_renewed_for_the_user_as_of_now() -> None:
    """Or ended, if there is no such user any more."""
    clock = HandClock()
    asked: list[ConsoleUser] = []
    now: dict[str, ConsoleUser | None] = {"otto": ConsoleUser(name="otto", role="view")}

    async def revalidate(user: ConsoleUser) -> ConsoleUser | None:
        asked.append(user)
        return now[user.name]

    async with login_desk(clock=clock, lifetime="1h", revalidate=revalidate) as found:
        await sign_in(found, "otto")
        assert "set-cookie" not in (await found.client.get("api/console")).headers
        clock.move(minutes=31)
        renewed = await found.client.get("api/console")
        assert renewed.json()["may_operate"] is False
        assert (asked, "set-cookie" in renewed.headers) == ([USERS["otto"]], True)
        clock.move(minutes=31)
        now["otto"] = None
        assert (await found.client.get("api/console")).status_code == 401


@on_new_stores
@pytest.mark.parametrize("answer", [RuntimeError("the directory is away"), True, "otto", HTTPException(500)])
async def test_a_session_ends_if_it_cannot_be_renewed(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that is away, or that answers something else, confirms nobody; the log says why."""
    clock = HandClock()

    def revalidate(_: ConsoleUser) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with login_desk(clock=clock, lifetime="1h", revalidate=revalidate) as found:
        await sign_in(found, "otto")
        clock.move(minutes=31)
        for path, status in (("api/runs", 401), ("", 303), ("login", 200)):
            response = await found.client.get(path)
            assert (response.status_code, "set-cookie" in response.headers) == (status, False), path
        assert (await found.client.post("api/runs/x/cancel")).status_code == 401
    assert "revalidate" in caplog.text
    assert "'otto'" in caplog.text


@on_new_stores
async def test_a_session_is_good_at_the_console_that_it_was_written_for() -> None:
    """Two consoles of one host may have the same secret and different people."""
    async with login_desk(cookie_name="first") as found:
        await sign_in(found, "otto")
        value = found.client.cookies["__Host-first"]
        assert (await found.client.get("api/runs")).status_code == 200
    async with login_desk(cookie_name="second") as found:
        assert (await found.client.get("api/runs", headers={"cookie": f"__Host-second={value}"})).status_code == 401


@on_new_stores
async def test_a_secret_can_be_replaced_while_sessions_live() -> None:
    async with login_desk() as found:
        await sign_in(found, "vera")
        cookie = {"cookie": f"{COOKIE}={found.client.cookies[COOKIE]}"}
    new = "the-new-secret-which-is-long-enough-too"
    async with login_desk(secret=[new, SECRET]) as found:
        assert (await found.client.get("api/runs", headers=cookie)).status_code == 200
    async with login_desk(secret=new) as found:
        assert (await found.client.get("api/runs", headers=cookie)).status_code == 401


@on_new_stores
async def test_leaving_takes_the_cookie_away() -> None:
    """By POST from the console itself: a picture on another site cannot do it."""
    async with login_desk() as found:
        await sign_in(found, "vera")
        assert (await found.client.get("logout")).status_code == 405
        assert (await found.client.post("logout", headers={"sec-fetch-site": "cross-site"})).status_code == 403
        assert (await found.client.get("api/runs")).status_code == 200
        response = await found.client.post("logout", headers={"sec-fetch-site": "same-origin"})
        assert (response.status_code, response.headers["location"]) == (303, "login")
        assert COOKIE not in found.client.cookies
        assert (await found.client.get("api/runs")).status_code == 401


@on_new_stores
async def test_another_site_cannot_sign_somebody_in() -> None:
    async with login_desk() as found:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere"}, {"origin": "null"}):
            data = {"username": "otto", "password": PASSWORD}
            response = await found.client.post("login", data=data, headers=headers)
            assert (response.status_code, "set-cookie" in response.headers) == (403, False)


@on_new_stores
async def test_whoever_guesses_has_to_wait() -> None:
    """Also with the right password, until the minute is over; others are not kept out."""
    clock = HandClock()
    async with login_desk(clock=clock) as found:
        for _ in range(5):
            assert (await sign_in(found, "vera", "guess")).status_code == 401
        blocked = await sign_in(found, "vera")
        assert (blocked.status_code, blocked.headers["retry-after"]) == (429, "60")
        assert (await found.client.post("login", json={"username": "vera", "password": "x"})).status_code == 429
        assert (await sign_in(found, "otto")).status_code == 303
        clock.move(minutes=1)
        assert (await sign_in(found, "vera")).status_code == 303


def test_attempts_are_counted_in_bounded_memory() -> None:
    """By address, name, and both; IPv6 by network; good ones are forgiven."""
    throttle, now = AttemptThrottle(), HandClock().now()
    for number in range(20):
        assert throttle.admit("2001:db8::1", f"name-{number}", now) is None
    assert throttle.admit("2001:db8::2", "another", now) is not None
    assert throttle.admit("2001:db8:0:1::2", "another", now) is None
    for _ in range(100):
        assert throttle.admit("10.0.0.1", "vera", now) is None
        throttle.forgive("10.0.0.1", "vera")
    for number in range(30_000):
        throttle.admit(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"n{number}", now)
    assert len(throttle._counts) <= 10_000
    refused = sum(throttle.admit(f"11.0.0.{number}", "target", now) is not None for number in range(60))
    assert refused == 10


def test_an_address_is_counted_as_one_however_it_is_written() -> None:
    """A server that listens on IPv6 writes `::ffff:10.0.0.1`: one client with two allowances, or all of IPv4 as one."""
    throttle, now = AttemptThrottle(), HandClock().now()
    for number in range(20):
        address = "10.0.0.1" if number % 2 else "::ffff:10.0.0.1"
        assert throttle.admit(address, f"name-{number}", now) is None
    for written in ("10.0.0.1", "::ffff:10.0.0.1", "::FFFF:0A00:0001", "0:0:0:0:0:ffff:10.0.0.1"):
        assert throttle.admit(written, "another", now) is not None, written
    for neighbour in ("::ffff:10.0.0.2", "10.0.0.3", "::1"):
        assert throttle.admit(neighbour, "another", now) is None, neighbour


@on_new_stores
async def test_what_is_no_attempt_is_refused() -> None:
    bodies = [b"", b"[]", b"{}", b'{"username": "a"}', b"\xff", b'{"username": 1, "password": 2}']
    async with login_desk() as found:
        for body in bodies:
            for kind in ("application/json", "application/x-www-form-urlencoded"):
                response = await found.client.post("login", content=body, headers={"content-type": kind})
                assert response.status_code == 422, (body, kind)
        form = {"username": "a" * 1001, "password": "b"}
        assert (await found.client.post("login", data=form)).status_code == 422
        surrogate = b'{"username": "\\ud800", "password": "\\ud800"}'
        assert (await found.client.post("login", content=surrogate)).status_code == 422
        foreign = {"username": "vera", "password": "pässwörd"}
        assert (await found.client.post("login", json=foreign)).status_code == 401


@on_new_stores
@pytest.mark.parametrize("answer", [True, "vera", {"name": "vera", "role": "operate"}])
async def test_an_authenticate_that_answers_something_else_lets_nobody_in(answer: object) -> None:
    """True is no user: without a role there is no session."""

    def answers() -> object:
        return answer

    async with login_desk(authenticate=answers) as found:
        assert (await sign_in(found, "vera")).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": ""},
        {"secret": "short"},
        {"secret": []},
        {"secret": [SECRET, "short"]},
        {"lifetime": "1s"},
        {"authenticate": None},
        {"cookie_name": "a b"},
        {"cookie_name": "__Host-a"},
        {"cookie_name": "__secure-a"},
    ],
)
def test_a_login_that_cannot_be_safe_is_refused_at_once(wrong: dict[str, Any]) -> None:
    options: dict[str, Any] = {"authenticate": authenticate, "secret": SECRET, **wrong}
    with pytest.raises(ConfigurationError):
        ConsoleLogin(**options)


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "n" * 201}, {"role": "admin"}, {"namespace": ""}, {"namespace": None}]
)
def test_a_user_who_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ConsoleUser"):
        ConsoleUser(**{"name": "n", **wrong})


@on_new_stores
async def test_a_users_namespace_confines_what_is_seen() -> None:
    """As a tenant's does; with a tenant dependency both have to agree."""
    async with login_desk() as found:
        await found.runtime.store.create_run(stored("mine", namespace="elsewhere"))
        await found.runtime.store.create_run(stored("yours", namespace="ours"))
        await sign_in(found, "theo")
        assert [run["id"] for run in (await found.client.get("api/runs")).json()["runs"]] == ["mine"]
        assert (await found.client.get("api/runs/yours")).status_code == 404
        info = (await found.client.get("api/console")).json()
        assert (info["user"], info["namespace"]) == ({"name": "theo", "role": "operate"}, "elsewhere")
    login = ConsoleLogin(authenticate=authenticate, secret=SECRET)
    async with desk(login=login, tenant=lambda: "ours") as found:
        found.client.base_url = httpx.URL("https://localhost/durable/")
        await sign_in(found, "theo")
        assert (await found.client.get("api/runs")).status_code == 403
        await sign_in(found, "vera")
        assert (await found.client.get("api/console")).json()["namespace"] == "ours"
