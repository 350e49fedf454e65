"""The port would carry steps to other processes: a transport that has only bytes keeps the contract, and runs do not
see the difference."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastapi_durable import FatalError, WorkflowContext, fixed, step, workflow
from fastapi_durable.model.errors import StepFailedError
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.contract import TransportContract
from tests.support.engine_rig import running_engine
from tests.transport.wire import WireTransport


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = WireTransport()
    await transport.start()
    yield transport
    await transport.stop()


class TestOverAWire(TransportContract): ...


async def test_a_run_whose_steps_go_over_a_wire_is_like_any_other() -> None:
    """Retries, time limits and fatal errors are the engine's, whoever carries the attempts."""
    attempts: list[str] = []

    @step(max_attempts=3, backoff=fixed("1ms"))
    async def flaky(value: int) -> int:
        attempts.append("flaky")
        if len(attempts) < 2:
            raise ValueError("not yet")
        return value * 2

    @step(max_attempts=2, timeout="50ms", backoff=fixed("1ms"))
    async def slow() -> None:
        attempts.append("slow")
        await asyncio.Event().wait()

    @step(max_attempts=5)
    async def fatal() -> None:
        attempts.append("fatal")
        raise FatalError("declined", code="card")

    @workflow
    async def flow(ctx: WorkflowContext) -> list[Any]:
        found: list[Any] = [await ctx.step(flaky, 4)]
        for each in (slow, fatal):
            try:
                await ctx.step(each)
            except StepFailedError as error:
                found.append(error.code)
        return found

    wire = WireTransport()
    async with running_engine(MemoryStateStore(), flow, transport=wire) as engine:
        assert await engine.execute(flow, timeout="60s") == [8, "step_timeout", "card"]
    assert attempts == ["flaky", "flaky", "slow", "slow", "fatal"]
    assert wire.carried == 5
