"""The transport that needs no broker, and what it carries."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict

import pytest

from fastapi_durable import InProcessTransport
from fastapi_durable.transport.base import StepOutcome, StepTask, Transport
from fastapi_durable.transport.contract import TransportContract
from fastapi_durable.transport.contract.suite import TASK


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = InProcessTransport()
    await transport.start()
    yield transport
    await transport.stop()


class TestInProcess(TransportContract): ...


def test_a_task_and_an_outcome_can_leave_the_process() -> None:
    """They hold nothing but JSON values, so that a broker can carry them."""
    assert StepTask(**json.loads(json.dumps(asdict(TASK)))) == TASK
    outcome = StepOutcome(output=[1, None], events=({"message": "half way"},))
    carried = json.loads(json.dumps(asdict(outcome)))
    assert StepOutcome(**carried | {"events": tuple(carried["events"])}) == outcome
