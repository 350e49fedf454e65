"""`start_many`, and what a start does with an id that is taken: `if_exists`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import (
    DurableError,
    InputValidationError,
    RunExistsError,
    RunIdTakenError,
    SingletonQueueFullError,
    TooManyDelayedStartsError,
)
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.service.batches import MOST_STARTS
from fastapi_durable.service.tasks import DurableTasks
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, running_engine, tuned
from tests.support.stores import on_every_store

QUEUES = [Queue("line", concurrency=2)]


@workflow
async def double(ctx: WorkflowContext, number: int) -> int:
    return number * 2


@workflow(singleton=Singleton(key=lambda _: "k", max_queue_depth=1))
async def crowded(ctx: WorkflowContext, number: int) -> int:
    return number


@step
async def tidy() -> int:
    return 7


def number_id(number: int) -> str:
    return f"number {number}"


@on_every_store
async def test_a_run_is_created_for_each_input_and_the_handles_come_in_their_order(store: StateStore) -> None:
    async with running_engine(store, double, queues=QUEUES) as engine:
        handles = await engine.start_many(double, [3, 1, 2], run_id=number_id, queue="line", tags=["t"], priority=4)
        assert [(each.run_id, each.created) for each in handles] == [
            ("number 3", True),
            ("number 1", True),
            ("number 2", True),
        ]
        assert [await each.result("60s") for each in handles] == [6, 2, 4]
        runs = await store.list_runs(RunQuery())
        assert {(run.queue, run.tags, run.priority) for run in runs} == {("line", ("t",), 4)}
        without_ids = await engine.start_many("double", range(3))
        assert [await each.result("60s") for each in without_ids] == [0, 2, 4]
        assert await engine.start_many(double, []) == []


@on_every_store
async def test_a_repeated_call_creates_what_is_not_there_yet(store: StateStore) -> None:
    engine = build_engine(store, double)
    await engine.start(double, 2, run_id="number 2")
    handles = await engine.start_many(double, [1, 2, 3], run_id=number_id)
    assert [each.created for each in handles] == [True, False, True]
    again = await engine.start_many(double, [1, 2, 3], run_id=number_id)
    assert [each.created for each in again] == [False, False, False]
    assert await store.count_runs(RunQuery()) == 3


async def refused(call: Callable[[], Awaitable[object]], kind: type[DurableError]) -> DurableError:
    with pytest.raises(kind) as caught:
        await call()
    return caught.value


@on_every_store
async def test_one_that_is_refused_refuses_all_and_the_error_says_which(store: StateStore) -> None:
    engine = build_engine(store, double, crowded)
    other = build_engine(store, crowded, config=tuned(FAST, namespace="other"))
    await engine.start(double, 7, run_id="number 7")
    await other.start(crowded, 8, run_id="number 8")
    wrong: Any = "x"
    for inputs, options, kind, index in (
        ([1, 7], {"if_exists": "refuse"}, RunExistsError, 1),
        ([1, 8, 2], {}, RunIdTakenError, 1),
        ([1, 2, 1], {}, InputValidationError, 2),
        ([1, wrong], {}, InputValidationError, 1),
    ):
        error = await refused(
            partial(engine.start_many, double, inputs, run_id=number_id, **options),
            kind,
        )
        assert error.index == index
        assert str(error).startswith(f"inputs[{index}]: ")
    full = await refused(partial(engine.start_many, crowded, [1, 2, 3]), SingletonQueueFullError)
    assert full.index is not None
    nameless: Any = lambda number: "" if number == 2 else number_id(number)  # noqa: E731
    assert (await refused(partial(engine.start_many, double, [1, 2], run_id=nameless), InputValidationError)).index == 1
    assert await store.count_runs(RunQuery()) == 2


async def test_bad_calls_are_refused_before_anything_is_written(store: StateStore) -> None:
    engine = build_engine(store, double, config=tuned(FAST, max_delayed_starts=2))
    text: Any = "12"
    number: Any = 12
    unknown: Any = {"run_ids": ["a"]}
    sometimes: Any = "sometimes"
    for call in (
        partial(engine.start_many, double, text),
        partial(engine.start_many, double, {1: 2}),
        partial(engine.start_many, double, number),
        partial(engine.start_many, double, range(MOST_STARTS + 1)),
        partial(engine.start_many, double, [1], queue="unknown"),
        partial(engine.start_many, double, [1], if_exists=sometimes),
        partial(engine.start, double, 1, if_exists=sometimes),
        partial(engine.signal_with_start, double, 1, token="t", if_exists=sometimes),
        partial(engine.execute, double, 1, if_exists=sometimes),
    ):
        await refused(call, InputValidationError)
    with pytest.raises(TypeError, match=r"start_many.*'run_ids'"):
        await engine.start_many(double, [1], **unknown)
    await refused(partial(engine.start_many, double, [1, 2, 3], delay="1h"), TooManyDelayedStartsError)
    assert await store.count_runs(RunQuery()) == 0
    assert await store.take_buffered_signal("t") is None


@on_every_store
async def test_many_runs_begin_later_and_those_that_wait_already_need_no_room(store: StateStore) -> None:
    engine = build_engine(store, double, config=tuned(FAST, max_delayed_starts=3))
    for _ in range(2):
        handles = await engine.start_many(double, [1, 2], run_id=number_id, delay="1h")
        assert [await each.status() for each in handles] == [RunStatus.SUSPENDED] * 2
    assert [each.created for each in await engine.start_many(double, [2, 3], run_id=number_id, delay="1h")] == [
        False,
        True,
    ]
    await refused(partial(engine.start_many, double, [3, 4], run_id=number_id, delay="1h"), TooManyDelayedStartsError)


@on_every_store
async def test_many_runs_begin_with_a_transaction_or_not_at_all(store: StateStore) -> None:
    class BodyError(Exception):
        pass

    async def undone() -> None:
        async with engine.transaction() as tx:
            await tx.start_many(double, [1, 2], run_id=number_id)
            raise BodyError

    async with running_engine(store, double) as engine:
        with pytest.raises(BodyError):
            await undone()
        assert await store.count_runs(RunQuery()) == 0
        async with engine.transaction() as tx:
            await tx.start(double, 5, run_id="number 5")
            await refused(partial(tx.start_many, double, [4, 5], run_id=number_id, if_exists="refuse"), RunExistsError)
            handles = await tx.start_many(double, [1, 2], run_id=number_id)
        assert [await each.result("60s") for each in handles] == [2, 4]
        assert await store.count_runs(RunQuery()) == 3


@on_every_store
async def test_a_start_may_insist_on_a_new_run(store: StateStore) -> None:
    async with running_engine(store, double, steps=[tidy]) as engine:
        tasks = DurableTasks(engine)
        assert await engine.execute(double, 4, run_id="r", if_exists="refuse", timeout="60s") == 8
        await tasks.add(tidy, key="k", if_exists="refuse")
        error = await refused(partial(engine.start, double, 5, run_id="r", if_exists="refuse"), RunExistsError)
        assert isinstance(error, RunExistsError)
        assert (error.run_id, error.workflow, error.status, error.index) == ("r", "double", RunStatus.COMPLETED, None)
        for call in (
            partial(engine.execute, double, 5, run_id="r", if_exists="refuse"),
            partial(engine.signal_with_start, double, 5, run_id="r", token="t", if_exists="refuse"),
            partial(tasks.add, tidy, key="k", if_exists="refuse"),
        ):
            await refused(call, RunExistsError)
        assert await store.take_buffered_signal("t") is None, "the signal goes with the start"
        assert not (await engine.start(double, 5, run_id="r", if_exists="return")).created
        assert (await engine.start(double, 5, if_exists="refuse")).created
