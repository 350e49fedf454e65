"""Every route of the console has a rule and keeps it: for strangers, viewers, and users of another namespace."""

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute

from fastapi_durable import ConsoleLogin
from fastapi_durable.web import router
from fastapi_durable.web.stream_routes import stream_routes
from tests.console.desk import Desk, desk
from tests.console.test_access import ID, call, changes, login, populated, routes, snapshot
from tests.console.test_login import SECRET, authenticate, login_desk, sign_in
from tests.support.new_stores import on_new_stores

pytestmark = on_new_stores

PUBLIC = {"durable_login", "durable_sign_in", "durable_sign_out", "durable_dashboard_asset"}
"""What a browser needs before anybody is signed in. None of it shows or changes anything of a run."""
PAGES = {"durable_dashboard"}
"""What sends a stranger to the login."""
VIEW = {
    "readConsole",
    "listWorkflows",
    "listRuns",
    "countRuns",
    "readRun",
    "readRunValue",
    "streamRuns",
    "streamRun",
    "readMetrics",
    "readSeries",
    "listSchedules",
    "listWorkers",
    "listQueues",
    "listEntities",
    "readEntity",
}
OPERATE = {
    "startRun",
    "sendSignal",
    "publishEvent",
    "sendUpdate",
    "cancelRun",
    "pauseRun",
    "resumeRun",
    "continueRun",
    "retryRun",
    "retryRunWithInput",
    "forkRun",
    "deleteRun",
    "actOnRuns",
    "triggerSchedule",
    "pauseSchedule",
    "resumeSchedule",
    "sendOperation",
}


@pytest.fixture(autouse=True)
def _streams_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "stream_routes", lambda: stream_routes(lifetime=0))


def mounted(parent: APIRouter) -> Iterator[APIRoute]:
    """The routes of a router and of those that it includes."""
    for route in parent.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from mounted(route.original_router)  # type: ignore[attr-defined]


async def test_every_route_has_a_rule() -> None:
    """A new route has to choose one: viewers, operators, or everybody."""
    async with login_desk() as found:
        console = found.durable.router(login=ConsoleLogin(authenticate=authenticate, secret=SECRET))
        names: dict[str, set[str]] = {}
        for route in mounted(console):
            names.setdefault(route.operation_id or route.name, set()).update(route.methods or ())
        assert set(names) == PUBLIC | PAGES | VIEW | OPERATE
        assert all(names[name] == {"GET"} for name in VIEW | PAGES)
        in_schema = {
            operation["operationId"]: method
            for operations in found.app.openapi()["paths"].values()
            for method, operation in operations.items()
        }
        assert set(in_schema) == VIEW | OPERATE
        assert {name for name, method in in_schema.items() if method == "get"} == VIEW


async def test_a_stranger_meets_the_login_on_every_route() -> None:
    """Programs get 401, the page sends the browser to the login, and nothing is seen or changed."""
    async with login_desk() as found:
        await populated(found)
        before = await snapshot(found)
        for method, path in routes(found.app):
            response = await call(found, method, path)
            assert (response.status_code, ID in response.text) == (401, False), (method, path)
            assert response.headers["content-type"] == "application/problem+json"
        assert (await found.client.get("")).status_code == 303
        assert await snapshot(found) == before


async def test_a_viewer_reads_on_every_route_and_changes_on_none() -> None:
    async with login_desk() as found:
        await populated(found)
        before = await snapshot(found)
        await sign_in(found, "vera")
        for method, path in routes(found.app):
            response = await request(found, method, path)
            assert response.status_code == (403 if changes(method) else 200), (method, path, response.text)
            assert response.headers["cache-control"] == "no-store", (method, path)
        assert await snapshot(found) == before
        info = (await found.client.get("api/console")).json()
        assert (info["may_operate"], info["actions"], info["user"]["role"]) == (False, [], "view")


async def test_a_user_of_another_namespace_neither_sees_nor_touches_a_run_on_any_route() -> None:
    """An operator, too: the run does not exist for them."""
    async with login_desk() as found:
        await populated(found)
        before = await snapshot(found)
        await sign_in(found, "theo")
        for method, path in routes(found.app):
            response = await request(found, method, path)
            body = response.text.replace(repr(ID), "").replace(f'"run_id":"{ID}"', "")
            assert ID not in body, (method, path, response.text)
            if "/bulk/" in path:
                assert response.json()["applied"] == 0
            elif changes(method) or f"/{ID}" in path or path.endswith("/stage"):
                assert response.status_code in (403, 404), (method, path, response.text)
        assert await snapshot(found) == before


async def test_an_operator_may_do_everything(caplog: pytest.LogCaptureFixture) -> None:
    """No route is closed to everybody; the log says who changed what."""
    with caplog.at_level(logging.INFO, logger="fastapi_durable"):
        await _operate_everything()
    assert f"console: 'otto': POST '/durable/api/runs/{ID}/cancel'" in caplog.messages
    assert not any("GET" in message for message in caplog.messages)


async def _operate_everything() -> None:
    async with login_desk() as found:
        await populated(found)
        await sign_in(found, "otto")
        for method, path in routes(found.app):
            assert (await request(found, method, path)).status_code not in (401, 403), (method, path)


async def request(found: Desk, method: str, path: str) -> httpx.Response:
    """The same request as the others', with the cookie, which goes over HTTPS only."""
    cookies: dict[str, Any] = dict(found.client.cookies)
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return await call(found, method, path, cookie=header)


@pytest.mark.parametrize(
    "guard",
    [
        {"dependencies": [Depends(login)]},
        {"operate": [Depends(login)]},
        {"view": [Depends(login)], "allow_unauthenticated": True},
        {"login": ConsoleLogin(authenticate=authenticate, secret=SECRET)},
    ],
)
async def test_the_document_of_an_application_tells_strangers_nothing_of_what_is_guarded(guard: dict[str, Any]) -> None:
    """An application's OpenAPI is there for everybody, and what its workflows are called and take is not."""
    async with desk(**guard) as found:
        text = (await found.client.get("http://localhost/openapi.json")).text
        assert "/durable/api/workflows/{workflow}/runs" in text
        for secret in ("Parcel", "weight", "startSend", "/workflows/send/", "/workflows/failing/", "Counter"):
            assert secret not in text


async def test_nobody_on_the_way_keeps_an_answer() -> None:
    """Of success or of failure, to whomever: a disk, a proxy, the list behind a browser's back button."""
    async with login_desk() as found:
        await populated(found)
        for name in ("", "vera", "otto"):
            if name:
                await sign_in(found, name)
            for method, path in [*routes(found.app), ("GET", "/durable/api/runs/nobody"), ("POST", "/durable/logout")]:
                response = await call(found, method, path)
                assert response.headers["cache-control"] == "no-store", (method, path, name)
