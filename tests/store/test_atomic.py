"""What takes several statements is done as a whole or not at all, whichever of them fails."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import pytest
import pytest_asyncio

from fastapi_durable.model.records import RetentionPolicy, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, a_waiter, at, create
from tests.store.conftest import TABLES, emptied, prisma_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Operation = Callable[[StateStore], Awaitable[object]]


class BrokenConnectionError(Exception):
    pass


class Fault:
    """Breaks the connection at the n-th statement, before it is done or behind it; 0: never."""

    def __init__(self) -> None:
        self.at = self.statements = 0
        self.moment: Literal["before", "behind"] = "before"

    def arm(self, at: int, moment: Literal["before", "behind"]) -> None:
        self.at, self.moment, self.statements = at, moment, 0

    def strike(self, moment: Literal["before", "behind"]) -> None:
        if moment == "before":
            self.statements += 1
        if (self.statements, moment) == (self.at, self.moment):
            raise BrokenConnectionError


def breaking(prisma: type[Any]) -> type[Any]:
    class BreakingPrisma(prisma):  # type: ignore[misc]
        fault = Fault()

        async def _execute(self, **options: Any) -> Any:
            self.fault.strike("before")
            answer = await super()._execute(**options)
            self.fault.strike("behind")
            return answer

        async def _execute_raw_batch(self, statements: Any) -> Any:
            self.fault.strike("before")
            answer = await super()._execute_raw_batch(statements)
            self.fault.strike("behind")
            return answer

    return BreakingPrisma


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_url: str) -> AsyncIterator[Any]:
    async with breaking(prisma_of(module_url))(datasource={"url": module_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Any) -> StateStore:
    """One run with a row of each kind, and an ended one."""
    store = await emptied(client)
    attributes: dict[str, Any] = {"customer": "x", "cents": 5}
    await create(
        store,
        a_run("run-1", search_attributes=attributes),
        a_run("ended", status=RunStatus.COMPLETED, search_attributes=attributes),
    )
    for run_id in ("run-1", "ended"):
        await store.save_checkpoint(a_checkpoint(0, run_id))
        await store.put_signal_waiter(a_waiter(f"token of {run_id}", run_id))
    return store


async def everything(client: Any) -> list[list[dict[str, Any]]]:
    """All rows of all tables: a run without its checkpoints, for example, would begin from the start."""
    return [await client.query_raw(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]


ALL_ENDED = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_count=0)
OPERATIONS: dict[str, tuple[int, Operation]] = {
    "create a run with attributes": (2, lambda store: store.create_run(a_run("new", search_attributes={"a": 1}))),
    "change its attributes": (3, lambda store: store.update_run("run-1", {"search_attributes": {"b": 2}})),
    "delete a run": (4, lambda store: store.delete_run("run-1")),
    "forget ended runs": (5, lambda store: store.prune_terminal_runs(ALL_ENDED, now=at(1), limit=9)),
}


@pytest.mark.parametrize("moment", ["before", "behind"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_statement_that_fails_leaves_nothing_of_the_others(
    name: str, moment: Literal["before", "behind"], client: Any, store: StateStore
) -> None:
    least, operation = OPERATIONS[name]
    before = await everything(client)
    for number in itertools.count(1):
        client.fault.arm(number, moment)
        try:
            await operation(store)
        except BrokenConnectionError:
            client.fault.arm(0, moment)
            assert await everything(client) == before
        else:
            break
    client.fault.arm(0, moment)
    assert number > least, "the operation takes fewer statements than this test is meant to cover"
    assert await everything(client) != before
