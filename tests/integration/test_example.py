"""What the order desk answers: inside this process on SQLite, and as a process of its own on PostgreSQL."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastapi_durable import FatalError
from tests.acceptance.processes import Process, database, processes, until
from tests.support.postgres import PostgresServer

SHIPPED = ["reserve", "charge", "ship"]
REJECTED = ["reserve", "charge", "refund", "release"]


class OrderDesk:
    """The example behind an HTTP client, and the database behind the example."""

    def __init__(self, http: httpx.AsyncClient, database_url: str) -> None:
        self.http = http
        self.database_url = database_url

    async def place(self, order: dict[str, Any]) -> httpx.Response:
        return await self.http.post("/orders", json=order)

    async def decide(self, order: dict[str, Any], *, approved: Any) -> httpx.Response:
        return await self.http.post(f"/orders/{order['id']}/approval", json={"approved": approved})

    async def look(self, order: dict[str, Any]) -> Any:
        return (await self.http.get(f"/orders/{order['id']}")).json()

    async def ledger(self, order: dict[str, Any]) -> list[Any]:
        lines: list[Any] = (await self.http.get(f"/orders/{order['id']}/ledger")).json()
        return lines

    async def kinds(self, order: dict[str, Any]) -> list[str]:
        return [line["kind"] for line in await self.ledger(order)]

    async def until_status(self, order: dict[str, Any], status: str) -> None:
        async def has_status() -> bool:
            return bool((await self.look(order))["status"] == status)

        await until(has_status)

    async def until_completed(self, order: dict[str, Any]) -> None:
        async def is_completed() -> bool:
            return bool((await self.look(order))["run_status"] == "completed")

        await until(is_completed)

    async def charges(self, order: dict[str, Any]) -> list[tuple[int, bool]]:
        """Amount and whether it was refunded, for each time the order's card was charged."""
        async with database(self.database_url) as client:
            rows = await client.cardcharge.find_many(where={"orderId": order["id"]})
        return [(row.amountCents, row.refunded) for row in rows]


@pytest.fixture(scope="module")
def process_on_postgresql(
    postgres_server: PostgresServer, _postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, str]]:
    """One process for all tests of this module; each of them places orders of its own."""
    name = f"durable_test_{uuid.uuid4().hex}"
    url = postgres_server.create_database(name, template=_postgres_template)
    with processes(url, tmp_path_factory.mktemp("example")) as started:
        yield started.web(), url
    postgres_server.drop_database(name)


@asynccontextmanager
async def desk_in_this_process(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OrderDesk]:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DURABLE_POLL_INTERVAL", "50ms")
    from example_app.main import app

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield OrderDesk(http, url)


@pytest.fixture
async def sqlite_desk(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OrderDesk]:
    """For tests that replace parts of the example."""
    async with desk_in_this_process(sqlite_url, monkeypatch) as desk:
        yield desk


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[OrderDesk]:
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
        async with desk_in_this_process(url, request.getfixturevalue("monkeypatch")) as desk:
            yield desk
    else:
        process, url = request.getfixturevalue("process_on_postgresql")
        await process.ready()
        async with process.client() as http:
            yield OrderDesk(http, url)


@pytest.fixture
def small() -> dict[str, Any]:
    """An order that needs no approval."""
    items = [{"sku": "lamp", "quantity": 2}, {"sku": "bulb", "quantity": 1}]
    return {"id": uuid.uuid4().hex, "customer": "Ada Lövelace", "items": items, "total_cents": 999}


@pytest.fixture
def large(small: dict[str, Any]) -> dict[str, Any]:
    """An order that needs one."""
    return {**small, "id": uuid.uuid4().hex, "total_cents": 1000}


async def test_an_order_is_accepted_and_the_same_order_again_gets_the_same_answer(
    desk: OrderDesk, small: dict[str, Any]
) -> None:
    first = await desk.place(small)
    assert first.status_code == 202
    assert first.json() == {"run_id": f"checkout:{small['id']}", "status": "pending"}
    await desk.until_completed(small)
    again = await desk.place(small)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert await desk.kinds(small) == SHIPPED


@pytest.mark.parametrize(
    "change",
    [
        {"customer": "Charles"},
        {"total_cents": 998},
        {"items": [{"sku": "bulb", "quantity": 1}, {"sku": "lamp", "quantity": 2}]},
    ],
)
async def test_other_content_under_a_used_id_is_a_conflict(
    desk: OrderDesk, small: dict[str, Any], change: dict[str, Any]
) -> None:
    await desk.place(small)
    answer = await desk.place({**small, **change})
    assert answer.status_code == 409
    assert small["id"] in answer.json()["detail"]
    assert {key: value for key, value in (await desk.look(small)).items() if key in small} == small


async def test_the_same_order_many_times_at_once_starts_one_run(desk: OrderDesk, small: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(desk.place(small) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    await desk.until_completed(small)
    assert await desk.kinds(small) == SHIPPED


async def test_of_different_orders_under_one_id_at_once_one_content_wins(
    desk: OrderDesk, small: dict[str, Any]
) -> None:
    rivals = [{**small, "customer": name} for name in ("ada", "charles", "grace") for _ in range(4)]
    answers = await asyncio.gather(*(desk.place(rival) for rival in rivals))
    winner = (await desk.look(small))["customer"]
    for rival, answer in zip(rivals, answers, strict=True):
        assert answer.status_code == (202 if rival["customer"] == winner else 409)


async def test_an_order_can_be_looked_at(desk: OrderDesk, large: dict[str, Any]) -> None:
    await desk.place(large)
    await desk.until_status(large, "awaiting_approval")

    async def is_suspended() -> bool:
        return bool((await desk.look(large))["run_status"] == "suspended")

    await until(is_suspended)
    assert await desk.look(large) == {
        **large,
        "status": "awaiting_approval",
        "run_id": f"checkout:{large['id']}",
        "run_status": "suspended",
    }


async def test_an_unknown_order_is_not_found(desk: OrderDesk) -> None:
    for answer in (
        await desk.http.get("/orders/nobody"),
        await desk.http.get("/orders/nobody/ledger"),
        await desk.decide({"id": "nobody"}, approved=True),
    ):
        assert answer.status_code == 404
        assert "nobody" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/orders/%00", "/orders/a%20b/ledger", f"/orders/{'x' * 65}"])
async def test_what_cannot_be_an_order_id_is_refused_before_the_database_is_asked(desk: OrderDesk, path: str) -> None:
    assert (await desk.http.get(path)).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "a/b"},
        {"id": "x" * 65},
        {"id": 7},
        {"customer": ""},
        {"customer": "nul\x00"},
        {"customer": "x" * 201},
        {"customer": None},
        {"items": []},
        {"items": [{"sku": "lamp", "quantity": 0}]},
        {"items": [{"sku": "lamp", "quantity": 1.5}]},
        {"items": [{"sku": "lamp", "quantity": "1"}]},
        {"items": [{"sku": "", "quantity": 1}]},
        {"items": [{"sku": "lamp"}]},
        {"items": [{"sku": "lamp", "quantity": 1}] * 101},
        {"total_cents": 0},
        {"total_cents": -1},
        {"total_cents": 9.99},
        {"total_cents": True},
        {"total_cents": 2**31},
    ],
)
async def test_an_order_that_does_not_validate_is_refused_and_not_kept(
    sqlite_desk: OrderDesk, small: dict[str, Any], change: dict[str, Any]
) -> None:
    answer = await sqlite_desk.place({**small, **change})
    assert answer.status_code == 422
    async with database(sqlite_desk.database_url) as client:
        assert await client.order.count() == await client.durableworkflowrun.count() == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"approved": "yes"}', b'{"approved": 1}', b"{}"])
async def test_a_decision_that_does_not_validate_is_refused(
    sqlite_desk: OrderDesk, large: dict[str, Any], content: bytes
) -> None:
    await sqlite_desk.place(large)
    answer = await sqlite_desk.http.post(
        f"/orders/{large['id']}/approval", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422


async def test_a_small_order_ships_at_once(desk: OrderDesk, small: dict[str, Any]) -> None:
    await desk.place(small)
    await desk.until_status(small, "shipped")
    lines = await desk.ledger(small)
    assert [(line["kind"], line["amount_cents"]) for line in lines] == [(kind, 999) for kind in SHIPPED]
    assert all(set(line) == {"kind", "amount_cents", "at"} for line in lines)
    moments = [datetime.fromisoformat(line["at"]) for line in lines]
    assert moments == sorted(moments)
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    assert await desk.charges(small) == [(999, False)]


async def test_a_large_order_ships_when_it_is_approved(desk: OrderDesk, large: dict[str, Any]) -> None:
    await desk.place(large)
    await desk.until_status(large, "awaiting_approval")
    assert await desk.kinds(large) == ["reserve", "charge"]
    assert (await desk.decide(large, approved=True)).status_code == 202
    await desk.until_completed(large)
    assert (await desk.look(large))["status"] == "shipped"
    assert await desk.kinds(large) == SHIPPED
    assert await desk.charges(large) == [(1000, False)]


async def test_a_large_order_that_is_rejected_is_refunded_and_released(desk: OrderDesk, large: dict[str, Any]) -> None:
    await desk.place(large)
    await desk.until_status(large, "awaiting_approval")
    assert (await desk.decide(large, approved=False)).status_code == 202
    await desk.until_completed(large)
    assert (await desk.look(large))["status"] == "rejected"
    assert await desk.kinds(large) == REJECTED
    assert await desk.charges(large) == [(1000, True)]


async def test_a_decision_that_comes_before_the_workflow_asks_for_it_counts(
    desk: OrderDesk, large: dict[str, Any]
) -> None:
    await desk.place(large)
    assert (await desk.decide(large, approved=False)).status_code == 202
    await desk.until_status(large, "rejected")


async def test_a_receipt_is_one_task_however_often_it_is_asked_for(desk: OrderDesk, small: dict[str, Any]) -> None:
    assert (await desk.http.post(f"/orders/{small['id']}/receipt")).status_code == 404
    await desk.place(small)
    answers = [(await desk.http.post(f"/orders/{small['id']}/receipt")).json() for _ in range(2)]
    assert answers == [{"run_id": f"send_receipt.task:{small['id']}", "status": "suspended"}] * 2


async def test_the_first_decision_counts(desk: OrderDesk, large: dict[str, Any]) -> None:
    await desk.place(large)
    for approved in (True, False, False):
        assert (await desk.decide(large, approved=approved)).status_code == 202
    await desk.until_completed(large)
    assert (await desk.decide(large, approved=False)).status_code == 202
    assert (await desk.look(large))["status"] == "shipped"


async def test_an_order_that_needs_no_decision_takes_note_of_one_without_harm(
    desk: OrderDesk, small: dict[str, Any]
) -> None:
    await desk.place(small)
    assert (await desk.decide(small, approved=False)).status_code == 202
    await desk.until_completed(small)
    assert await desk.kinds(small) == SHIPPED


async def test_an_order_on_which_nobody_decides_is_rejected_in_the_end(
    sqlite_desk: OrderDesk, large: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from example_app import workflow

    assert timedelta(days=3) == workflow.APPROVAL_WITHIN
    monkeypatch.setattr(workflow, "APPROVAL_WITHIN", timedelta(milliseconds=100))
    await sqlite_desk.place(large)
    await sqlite_desk.until_completed(large)
    assert (await sqlite_desk.look(large))["status"] == "rejected"
    assert await sqlite_desk.kinds(large) == REJECTED
    assert await sqlite_desk.charges(large) == [(1000, True)]


class StubbornGateway:
    """A card gateway that has its own mind; the real one's books stay empty."""

    def __init__(self, failure: Exception, failures: int) -> None:
        self.keys: list[str] = []
        self.refunds: list[str] = []
        self._failure = failure
        self._failures = failures

    async def charge(self, order_id: str, amount_cents: int, *, idempotency_key: str) -> None:
        self.keys.append(idempotency_key)
        if len(self.keys) <= self._failures:
            raise self._failure

    async def refund(self, *, idempotency_key: str) -> None:
        self.refunds.append(idempotency_key)


@asynccontextmanager
async def replaced(gateway: StubbornGateway) -> AsyncIterator[None]:
    from example_app.main import app
    from example_app.payments import CardGateway

    app.dependency_overrides[CardGateway] = lambda: gateway
    try:
        yield
    finally:
        del app.dependency_overrides[CardGateway]


async def test_a_card_that_is_declined_releases_what_was_reserved(
    sqlite_desk: OrderDesk, small: dict[str, Any]
) -> None:
    gateway = StubbornGateway(FatalError("card declined"), failures=1)
    async with replaced(gateway):
        await sqlite_desk.place(small)
        await sqlite_desk.until_completed(small)
    assert (await sqlite_desk.look(small))["status"] == "rejected"
    assert await sqlite_desk.kinds(small) == ["reserve", "release"]
    assert len(gateway.keys) == 1


async def test_a_gateway_that_fails_for_a_while_is_asked_again_under_the_same_key(
    sqlite_desk: OrderDesk, small: dict[str, Any]
) -> None:
    gateway = StubbornGateway(ConnectionError("no answer"), failures=1)
    async with replaced(gateway):
        await sqlite_desk.place(small)
        await sqlite_desk.until_completed(small)
    assert await sqlite_desk.kinds(small) == SHIPPED
    assert gateway.keys == [f"charge:{small['id']}"] * 2
    assert gateway.refunds == []


async def test_a_process_that_serves_is_live_and_ready(desk: OrderDesk) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = await desk.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_delivery_that_finds_no_shelf_is_undone(desk: OrderDesk) -> None:
    delivery = {"id": uuid.uuid4().hex, "supplier": "Nobody", "parcels": 1}
    run_id = (await desk.http.post("/warehouse/deliveries", json=delivery)).json()["run_id"]

    async def is_undone() -> bool:
        return bool((await desk.http.get(f"/durable/api/runs/{run_id}")).json()["status"] == "failed")

    await until(is_undone)
    run = (await desk.http.get(f"/durable/api/runs/{run_id}")).json()
    assert run["error"]["code"] == "no_shelf"
    undone = [step["name"] for step in run["timeline"] if step["seq"] < 0 and step["status"] == "completed"]
    assert undone == ["compensate:call_supplier", "compensate:book_ramp"]


def test_the_example_stays_short_enough_to_be_read() -> None:
    files = [file.read_text().splitlines() for file in (Path(__file__).parents[2] / "example_app").glob("*.py")]
    assert sum(map(len, files)) < 600
    assert max(map(len, files)) < 200
