"""A transport that carries bytes and nothing else, as one over a broker would: the port's shape, tried."""

import asyncio
import itertools
import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from fastapi_durable.model.records import ErrorRecord
from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask


class WireTransport:
    """The far end knows a step only by what is on the line; `handlers` stand for its own registry of steps.

    Attributes:
        carried: How many attempts went over the line.
    """

    def __init__(self) -> None:
        self.carried = 0
        self._there: asyncio.Queue[bytes] = asyncio.Queue()
        self._back: asyncio.Queue[bytes] = asyncio.Queue()
        self._handlers: dict[int, StepHandler] = {}
        self._waiting: dict[int, asyncio.Future[StepOutcome]] = {}
        self._numbers = itertools.count()
        self._ends: list[asyncio.Task[None]] = []
        self._attempts: dict[int, asyncio.Task[None]] = {}

    async def start(self) -> None:
        self._ends = [asyncio.create_task(self._far_end()), asyncio.create_task(self._near_end())]

    async def stop(self) -> None:
        tasks = [*self._ends, *self._attempts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
        number = next(self._numbers)
        self.carried += 1
        self._handlers[number] = handler
        outcome: asyncio.Future[StepOutcome] = asyncio.get_running_loop().create_future()
        self._waiting[number] = outcome
        self._there.put_nowait(json.dumps({"number": number, "task": asdict(task)}).encode())
        try:
            return await outcome
        except asyncio.CancelledError:
            self._there.put_nowait(json.dumps({"number": number, "given_up": True}).encode())
            raise
        finally:
            del self._waiting[number]

    async def _far_end(self) -> None:
        while True:
            message = json.loads(await self._there.get())
            number = message["number"]
            if message.get("given_up"):
                if (attempt := self._attempts.get(number)) is not None:
                    attempt.cancel()
                continue
            attempt = asyncio.create_task(self._attempt(number, StepTask(**message["task"])))
            self._attempts[number] = attempt
            attempt.add_done_callback(lambda _, number=number: self._attempts.pop(number))  # type: ignore[misc]

    async def _attempt(self, number: int, task: StepTask) -> None:
        with suppress(asyncio.CancelledError):
            outcome = await self._handlers.pop(number)(task)
            error = None if outcome.error is None else outcome.error.to_json()
            body = {"number": number, "output": outcome.output, "error": error, "events": list(outcome.events)}
            self._back.put_nowait(json.dumps(body).encode())

    async def _near_end(self) -> None:
        while True:
            message: dict[str, Any] = json.loads(await self._back.get())
            error = None if message["error"] is None else ErrorRecord.from_json(message["error"])
            outcome = StepOutcome(output=message["output"], error=error, events=tuple(message["events"]))
            waiting = self._waiting.get(message["number"])
            # What comes after its attempt was given up belongs to nobody.
            if waiting is not None and not waiting.done():
                waiting.set_result(outcome)
