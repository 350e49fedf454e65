"""Recorded histories fit the code of today; an edit of a body is caught, and said where."""

from dataclasses import replace

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import NonDeterminismError, RunNotFoundError
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import History, assert_replayable, record_history
from tests.histories.record import path_of, record
from tests.histories.workflows import RECORDED, Recorded, double, steps


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
async def test_a_recorded_run_replays_with_the_code_of_today(recorded: Recorded) -> None:
    await assert_replayable(History.load(path_of(recorded)), recorded.workflow, *recorded.related)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
async def test_a_run_of_today_leaves_the_history_that_was_recorded(recorded: Recorded) -> None:
    """The same kinds and names at the same positions: what other processes and older runs rely on."""
    today, then = await record(recorded), History.load(path_of(recorded))
    assert [(row.seq, row.kind, row.name) for row in today.checkpoints] == [
        (row.seq, row.kind, row.name) for row in then.checkpoints
    ]
    assert today.run.status is then.run.status


def test_a_history_survives_its_file() -> None:
    for recorded in RECORDED:
        text = path_of(recorded).read_text(encoding="utf-8")
        assert History.from_json(text).to_json() == text


async def test_an_edited_body_is_caught_with_position_recorded_and_found() -> None:
    @workflow(name="steps")
    async def edited(ctx: WorkflowContext, value: int) -> list[int]:
        return [await ctx.step(double, value), await ctx.step(double, value, name="renamed")]

    with pytest.raises(NonDeterminismError) as caught:
        await assert_replayable(History.load(path_of(RECORDED[0])), edited)
    assert caught.value.seq == 1
    assert caught.value.recorded == "local 'again'"
    assert caught.value.found == "local 'renamed'"


async def test_a_body_that_asks_for_less_or_more_is_caught() -> None:
    @workflow(name="steps")
    async def shorter(ctx: WorkflowContext, value: int) -> list[int]:
        return [await ctx.step(double, value)]

    @workflow(name="steps")
    async def longer(ctx: WorkflowContext, value: int) -> list[int]:
        first = await ctx.step(double, value)
        return [first, await ctx.step(double, value, name="again"), await ctx.step(double, value, name="third")]

    history = History.load(path_of(RECORDED[0]))
    with pytest.raises(NonDeterminismError, match="the end of the workflow"):
        await assert_replayable(history, shorter)
    with pytest.raises(AssertionError, match="third"):
        await assert_replayable(history, longer)


async def test_a_body_that_makes_something_else_of_the_same_steps_is_caught() -> None:
    @workflow(name="steps")
    async def other(ctx: WorkflowContext, value: int) -> int:
        return await ctx.step(double, value) + await ctx.step(double, value, name="again")

    with pytest.raises(AssertionError, match="its replay is completed with 12"):
        await assert_replayable(History.load(path_of(RECORDED[0])), other)


async def test_a_history_of_another_version_or_format_is_refused() -> None:
    history = History.load(path_of(RECORDED[0]))
    with pytest.raises(AssertionError, match="version '2'"):
        await assert_replayable(replace(history, run=replace(history.run, workflow_version="2")), steps)
    with pytest.raises(ValueError, match="format"):
        History.from_json("{}")
    with pytest.raises(RunNotFoundError):
        await record_history(MemoryStateStore(), "nobody")


def test_a_history_holds_no_stack_and_so_no_path_of_the_machine_that_recorded_it() -> None:
    """Neither of the run's own failures nor of those of children, operations and tasks that it met."""
    for recorded in RECORDED:
        assert '"stack"' not in path_of(recorded).read_text(encoding="utf-8"), recorded.name
    failed = History.load(path_of(next(each for each in RECORDED if each.name == "failing_family")))
    met = [row.output for row in failed.checkpoints if isinstance(row.output, dict)]
    assert [ended["failure"]["message"] for ended in met if not ended["ok"]] == ["negative", "negative"]
