"""The requirements of every transport, tested by its results."""

import asyncio
from dataclasses import replace

import pytest

from fastapi_durable.model.records import ErrorRecord
from fastapi_durable.transport.base import StepOutcome, StepTask, Transport

TASK = StepTask(
    run_id="run-1",
    seq=3,
    step_id="run-1:3",
    name="charge",
    input={"cents": 900, "who": "Zoë"},
    attempt=2,
    namespace="acme",
    priority=5,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


class TransportContract:
    """The tests that a transport has to pass. Subclass it, and provide the fixture `transport`: one that is started."""

    async def test_the_handler_gets_the_task_as_it_was_sent_and_its_outcome_comes_back(
        self, transport: Transport
    ) -> None:
        seen: list[StepTask] = []

        async def handler(task: StepTask) -> StepOutcome:
            seen.append(task)
            return StepOutcome(output={"paid": True}, events=({"level": "info"},))

        outcome = await transport.execute(TASK, handler)
        assert seen == [TASK]
        assert outcome == StepOutcome(output={"paid": True}, events=({"level": "info"},))

    async def test_a_failure_comes_back_whole(self, transport: Transport) -> None:
        error = ErrorRecord(
            message="declined", code="card", retryable=False, type="CardError", cause=ErrorRecord(message="limit")
        )

        async def handler(task: StepTask) -> StepOutcome:
            return StepOutcome(error=error)

        assert (await transport.execute(TASK, handler)).error == error

    async def test_one_attempt_does_not_wait_for_another(self, transport: Transport) -> None:
        first_runs, second_ran = asyncio.Event(), asyncio.Event()

        async def handler(task: StepTask) -> StepOutcome:
            if task.seq == 1:
                first_runs.set()
                await second_ran.wait()
            else:
                await first_runs.wait()
                second_ran.set()
            return StepOutcome(output=task.seq)

        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(
                *(transport.execute(replace(TASK, seq=seq, step_id=f"run-1:{seq}"), handler) for seq in (1, 2))
            )
        assert [outcome.output for outcome in outcomes] == [1, 2]

    async def test_outcomes_of_many_attempts_are_not_mixed_up(self, transport: Transport) -> None:
        async def handler(task: StepTask) -> StepOutcome:
            await asyncio.sleep(0)
            return StepOutcome(output=[task.run_id, task.attempt])

        tasks = [replace(TASK, run_id=f"run-{number % 7}", attempt=number) for number in range(50)]
        outcomes = await asyncio.gather(*(transport.execute(task, handler) for task in tasks))
        assert [outcome.output for outcome in outcomes] == [[task.run_id, task.attempt] for task in tasks]

    async def test_a_call_that_is_cancelled_gives_the_attempt_up(self, transport: Transport) -> None:
        began, given_up = asyncio.Event(), asyncio.Event()

        async def handler(task: StepTask) -> StepOutcome:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()
            return StepOutcome()

        call = asyncio.create_task(transport.execute(TASK, handler))
        async with asyncio.timeout(10):
            await began.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await given_up.wait()
