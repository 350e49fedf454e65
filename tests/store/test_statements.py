"""How many statements an operation costs; each one is a round trip, and on the hot path there is one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from fastapi_durable.model.records import CheckpointStatus, Lease, RetentionPolicy, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import T0, a_checkpoint, a_run, a_waiter, an_event, at, create
from fastapi_durable.store.contract.suite.prepared import prepared
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import emptied, prisma_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Operation = Callable[[StateStore], Awaitable[object]]


class Counted:
    """How often a client was asked for something; a transaction counts for its begin and its end."""

    def __init__(self) -> None:
        self.statements: list[str] = []


def counting(prisma: type[Any]) -> type[Any]:
    class CountingPrisma(prisma):  # type: ignore[misc]
        counted = Counted()

        async def _execute(self, **options: Any) -> Any:
            self.counted.statements.append(str(options["arguments"].get("query", options["method"])))
            return await super()._execute(**options)

        async def _execute_raw_batch(self, statements: Any) -> Any:
            self.counted.statements += [text for text, *_ in statements]
            return await super()._execute_raw_batch(statements)

        def tx(self, **options: Any) -> Any:
            self.counted.statements += ["BEGIN", "COMMIT"]
            return super().tx(**options)

    return CountingPrisma


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_url: str) -> AsyncIterator[Any]:
    async with counting(prisma_of(module_url))(datasource={"url": module_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Any) -> StateStore:
    store = await emptied(client)
    await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"), a_run("pending"))
    await store.record_checkpoint(a_checkpoint(0), token="mine")
    await store.put_signal_waiter(a_waiter("t"))
    await store.buffer_signal("t", 1, now=T0)
    await store.buffer_event(an_event("e"))
    return store


PRUNE = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_age=timedelta(days=1), max_count=5)
ONE_STATEMENT: dict[str, Operation] = {
    "create_run": lambda store: store.create_run(a_run("new", input={"n": 1}, tags=("t",))),
    "find_run": lambda store: store.find_run("run-1"),
    "update_run": lambda store: store.update_run(
        "run-1", {"status": RunStatus.COMPLETED, "output": 1}, statuses=[RunStatus.RUNNING], token="mine", wake_count=0
    ),
    "claim_runs": lambda store: store.claim_runs("t", now=at(1), until=at(9), limit=9, workflows=[("checkout", "1")]),
    "renew_leases": lambda store: store.renew_leases([Lease("run-1", "mine"), Lease("b", "x")], until=at(9)),
    "record_checkpoint": lambda store: store.record_checkpoint(a_checkpoint(1), token="mine"),
    "record_prepared": lambda store: store.record_prepared(
        prepared(store, a_checkpoint(1), a_checkpoint(2)), token="mine"
    ),
    "record a start": lambda store: store.record_checkpoint(a_checkpoint(2, status=CheckpointStatus.RUNNING)),
    "list_checkpoints": lambda store: store.list_checkpoints("run-1"),
    "take_signal_waiter": lambda store: store.take_signal_waiter("t"),
    "take_buffered_signal": lambda store: store.take_buffered_signal("t"),
    "put_signal_waiter": lambda store: store.put_signal_waiter(a_waiter("other")),
    "buffer_signal": lambda store: store.buffer_signal("t", 1, now=T0, signal_id="s"),
    "remove_buffered_event": lambda store: store.remove_buffered_event("e"),
    "list_runs": lambda store: store.list_runs(RunQuery(tag="t", statuses=frozenset({RunStatus.PENDING}))),
    "count_runs": lambda store: store.count_runs(RunQuery()),
    "run_facets": lambda store: store.run_facets(RunQuery()),
    "run_facets, up to a number": lambda store: store.run_facets(RunQuery(), at_most=5),
    "list_runs of statuses": lambda store: store.list_runs(RunQuery(statuses=frozenset({RunStatus.PENDING}))),
    "page_checkpoints": lambda store: store.page_checkpoints("run-1", limit=9),
    "history_state": lambda store: store.history_state("run-1"),
    "list_stranded_runs": lambda store: store.list_stranded_runs(T0, served=["checkout@1"], limit=9),
    "remove_checkpoints": lambda store: store.remove_checkpoints("run-1", [0, 7]),
    "remove_signal_waiter": lambda store: store.remove_signal_waiter(a_waiter("t")),
    "remove_signal_waiters_of_run": lambda store: store.remove_signal_waiters_of_run("run-1"),
    "find_receiver": lambda store: store.find_receiver("t"),
    "find_signal_waiter": lambda store: store.find_signal_waiter("t"),
}
MORE_STATEMENTS: dict[str, tuple[int, Operation]] = {
    # BEGIN, run, attributes, COMMIT
    "create_run with attributes": (4, lambda store: store.create_run(a_run("new", search_attributes={"a": 1, "b": 2}))),
    "update_run with attributes": (5, lambda store: store.update_run("run-1", {"search_attributes": {"a": 1}})),
    "delete_run": (7, lambda store: store.delete_run("run-1")),
    "create_run of an existing run": (2, lambda store: store.create_run(a_run())),
    "record a finished checkpoint again": (2, lambda store: store.record_checkpoint(a_checkpoint(0), token="mine")),
    # Where the newest that are kept end, what is older
    "prune_terminal_runs without anything to do": (2, lambda store: store.prune_terminal_runs(PRUNE, now=T0, limit=9)),
}


@pytest.mark.parametrize("name", ONE_STATEMENT)
async def test_an_operation_costs_one_statement(name: str, client: Any, store: StateStore) -> None:
    client.counted.statements.clear()
    await ONE_STATEMENT[name](store)
    assert len(client.counted.statements) == 1, client.counted.statements


@pytest.mark.parametrize("name", MORE_STATEMENTS)
async def test_some_operations_cost_more(name: str, client: Any, store: StateStore) -> None:
    number, operation = MORE_STATEMENTS[name]
    client.counted.statements.clear()
    await operation(store)
    assert len(client.counted.statements) == number, client.counted.statements


async def test_the_dialect_is_asked_for_once(client: Any) -> None:
    store = PrismaStateStore(client)
    client.counted.statements.clear()
    await store.find_run("a")
    await store.with_scope("default").find_run("a")
    async with store.transaction() as transaction:
        await transaction.find_run("a")
    assert len([text for text in client.counted.statements if "CAST(2.5" in text]) == 1
