"""Who may see and change what. Every route is tried: the list comes from the application itself."""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException

from fastapi_durable import ALL_NAMESPACES, AllNamespaces, RunStatus
from fastapi_durable.model.records import SignalWaiter
from fastapi_durable.web import router
from fastapi_durable.web.stream_routes import stream_routes
from tests.console.desk import Desk, desk
from tests.console.test_reading import stored
from tests.support.new_stores import on_new_stores

pytestmark = on_new_stores

ID = "theirs"
VALUES = {
    "run_id": ID,
    "workflow": "send",
    "name": "amount",
    "key": "stage",
    "action": "cancel",
    "entity": "Counter",
    "operation": "add",
}


async def login(authorization: Annotated[str | None, Header()] = None) -> str:
    if authorization not in ("viewer", "operator"):
        raise HTTPException(401)
    return authorization


async def operator(who: Annotated[str, Depends(login)]) -> None:
    if who != "operator":
        raise HTTPException(403)


async def tenant_of(x_tenant: Annotated[str | None, Header()] = None) -> str | AllNamespaces:
    return x_tenant or ALL_NAMESPACES


@pytest.fixture(autouse=True)
def _streams_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "stream_routes", lambda: stream_routes(lifetime=0))


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and address of every route of the console's API."""
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path.format(**VALUES)


def changes(method: str) -> bool:
    return method != "GET"


async def call(found: Desk, method: str, path: str, **headers: str) -> httpx.Response:
    """A request whose body fits wherever one is taken, by all that a stranger knows."""
    body: dict[str, Any] | None = None
    if method != "GET" and method != "DELETE":
        body = {}
        if path.endswith("/signals"):
            body = {"token": "t"}
        elif path.endswith("/events"):
            body = {"name": "paid"}
        elif "/entities/" in path:
            body = {"key": "k", "input": 1}
        elif path.endswith("/fork"):
            body = {"from_step": 0}
        elif "/bulk/" in path:
            body = {"run_ids": [ID]}
        elif path.endswith("/runs"):
            takes_none = "/updated/" in path or "/stopping/" in path
            body = {"run_id": ID} if takes_none else {"input": {"id": "1", "weight": 1}, "run_id": ID}
    return await found.client.request(
        method,
        f"http://localhost{path}",
        json=body,
        headers={key.replace("_", "-").encode(): value.encode("latin-1") for key, value in headers.items()},
    )


async def populated(found: Desk) -> None:
    """A run that waits, and an entity."""
    await found.waits("t", ID)
    await found.runtime.service.signal_entity("Counter", "stage", "add", 1)
    await found.until("entity:Counter:stage", RunStatus.SUSPENDED)


async def snapshot(found: Desk) -> Any:
    store = found.runtime.store
    return (
        await store.find_run(ID),
        await found.runtime.service.get_entity_state("Counter", "stage"),
        await store.list_checkpoints(ID),
        await found.runtime.service.count_runs(),
        await store.find_signal_waiter("t"),
    )


async def test_a_stranger_gets_nothing_and_changes_nothing() -> None:
    """On no route, the pages included."""
    async with desk(dependencies=[Depends(login)]) as found:
        await populated(found)
        before = await snapshot(found)
        tried = [*routes(found.app), ("GET", "/durable/"), ("GET", "/durable/assets/app.js")]
        answers = {(method, path): (await call(found, method, path)).status_code for method, path in tried}
        assert set(answers.values()) == {401}
        assert len(answers) > 10
        assert await snapshot(found) == before


async def test_a_viewer_sees_everything_and_changes_nothing() -> None:
    """Reading needs `view`, changing needs `operate`."""
    async with desk(view=[Depends(login)], operate=[Depends(operator)]) as found:
        await populated(found)
        before = await snapshot(found)
        for method, path in routes(found.app):
            status = (await call(found, method, path, authorization="viewer")).status_code
            assert status == (403 if changes(method) else 200), (method, path)
            assert (await call(found, method, path)).status_code == 401
        assert await snapshot(found) == before
        assert (
            await call(found, "POST", f"/durable/api/runs/{ID}/cancel", authorization="operator")
        ).status_code == 200


async def test_another_tenant_neither_sees_nor_touches_a_run() -> None:
    """It is as if the run did not exist; the lists and counts leave it out."""
    async with desk(allow_unauthenticated=True, tenant=tenant_of) as found:
        await populated(found)
        await found.runtime.store.create_run(stored("ours", namespace="ours", status=RunStatus.FAILED))
        before = await snapshot(found)
        for method, path in routes(found.app):
            response = await call(found, method, path, x_tenant="ours")
            assert ID not in response.text.replace(f"{ID!r}", "").replace(f'"run_id":"{ID}"', ""), (method, path)
            if "/bulk/" in path:
                assert response.json()["applied"] == 0
            elif changes(method) or ID in path:
                assert response.status_code in (403, 404), (method, path, response.text)
        assert await snapshot(found) == before
        listed = (await found.client.get("runs", headers={"x-tenant": "ours"}, params={"total": True})).json()
        assert ([run["id"] for run in listed["runs"]], listed["total"]) == (["ours"], 1)
        everybody = {"namespace": "default"}
        assert (await found.client.get("runs", headers={"x-tenant": "ours"}, params=everybody)).json()["runs"] == []
        assert (await found.client.get("runs/facets", headers={"x-tenant": "ours"})).json()["total"] == 1
        assert (await found.client.get("runs", params={"total": True})).json()["total"] == 3


async def test_a_tenant_starts_runs_in_the_modules_namespace_only_and_under_no_id_of_another_tenant() -> None:
    """A run is created in the module's namespace. An id that is used elsewhere is refused, and not told of."""
    async with desk(allow_unauthenticated=True, tenant=tenant_of) as found:
        await found.runtime.store.create_run(stored("hidden", namespace="elsewhere"))
        body = {"input": {"id": "7", "weight": 2}, "run_id": "hidden"}
        for tenant in ("ours", "default"):
            response = await found.client.post("workflows/send/runs", json=body, headers={"x-tenant": tenant})
            assert response.status_code == 403
            assert "elsewhere" not in response.text
        del body["run_id"]
        response = await found.client.post("workflows/send/runs", json=body, headers={"x-tenant": "ours"})
        assert response.status_code == 403
        assert await found.runtime.service.count_runs() == 1


async def test_a_tenant_of_another_namespace_than_the_modules_is_refused() -> None:
    """A module that serves one namespace has nothing for the others."""
    async with desk(namespace="shop", allow_unauthenticated=True, tenant=tenant_of) as found:
        assert (await found.client.get("runs", headers={"x-tenant": "other"})).status_code == 403
        assert (await found.client.get("runs", headers={"x-tenant": "shop"})).status_code == 200


async def test_a_tenant_dependency_that_knows_no_namespace_lets_nobody_in() -> None:
    """A forgotten `return`, or a header that says `ALL_NAMESPACES`, must not open every tenant's runs."""
    answers: Iterator[Any] = itertools.cycle([None, "", 0, False, [], 1])

    async def no_namespace() -> Any:
        return next(answers)

    async with desk(allow_unauthenticated=True, tenant=no_namespace) as found:
        await populated(found)
        for method, path in routes(found.app):
            response = await call(found, method, path)
            assert response.status_code == 403, (method, path)
            assert "must return a namespace" in response.json()["detail"]


async def test_no_name_of_a_namespace_stands_for_all_of_them() -> None:
    async with desk(allow_unauthenticated=True, tenant=tenant_of) as found:
        await populated(found)
        for name in ("ALL_NAMESPACES", "AllNamespaces.ALL_NAMESPACES", "None", "null", "*", "1", "%"):
            assert (await found.client.get("runs", headers={"x-tenant": name})).json()["runs"] == [], name


async def test_a_tenant_signals_only_a_run_of_its_own_that_waits() -> None:
    """Decided where the signal is delivered, so neither an ended run's waiter nor a rival opens the shared buffer."""
    async with desk(allow_unauthenticated=True, tenant=tenant_of) as found:
        store = found.runtime.store
        for run_id, namespace, status in (
            ("mine", "ours", RunStatus.SUSPENDED),
            ("theirs", "default", RunStatus.SUSPENDED),
            ("ended", "ours", RunStatus.CANCELLED),
        ):
            await store.create_run(stored(run_id, namespace=namespace, status=status))
            async with store.transaction() as transaction:
                await transaction.put_signal_waiter(SignalWaiter(token=f"of:{run_id}", run_id=run_id, seq=0))

        async def signal(token: str) -> httpx.Response:
            return await found.client.post("signals", json={"token": token}, headers={"x-tenant": "ours"})

        for token in ("of:ended", "of:theirs", "of:nobody", "of:ended"):
            refused = await signal(token)
            assert refused.status_code == 404
            assert refused.json()["detail"] == f"no run that you may see waits for {token!r}"
        answers = await asyncio.gather(*[signal("of:mine") for _ in range(3)])
        assert sorted(answer.status_code for answer in answers) == [200, 404, 404]
        async with store.transaction() as transaction:
            for token in ("of:mine", "of:theirs", "of:ended", "of:nobody"):
                assert await transaction.take_buffered_signal(token) is None
        assert await store.find_signal_waiter("of:theirs") is not None


async def test_without_guards_nothing_that_changes_is_mounted(caplog: pytest.LogCaptureFixture) -> None:
    """And a warning says so, and what to do."""
    with caplog.at_level(logging.WARNING, logger="fastapi_durable"):
        async with desk(dashboard=True) as found:
            assert [path for method, path in routes(found.app) if changes(method)] == []
            info = (await found.client.get("console")).json()
            assert (info["may_operate"], info["actions"]) == (False, [])
    text = "\n".join(caplog.messages)
    assert "not mounted" in text
    assert "allow_unauthenticated" in text


async def test_pages_of_other_sites_change_nothing() -> None:
    """A browser says where a request comes from, and programs say nothing."""
    async with desk() as found:
        await found.waits("t", ID)
        for headers in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "http://elsewhere"},
            {"origin": "null"},
        ):
            for method, path in routes(found.app):
                if changes(method):
                    assert (await call(found, method, path, **headers)).status_code == 403
        for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "http://localhost"}):
            assert (await call(found, "POST", f"/durable/api/runs/{ID}/cancel", **headers)).status_code == 200
