"""`current_step().stream(...)`: the streams of a run to which a running attempt of a step appends.

Items are appended at least once, like every effect of a step: the items of an attempt stay when the attempt fails or
its process dies, and the next attempt appends again. Its first item is marked, so that readers drop the earlier items
of the same step.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import orjson

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.names import checked_name
from fastapi_durable.engine.core.run_streams import Draft, RunStreams
from fastapi_durable.model.errors import InputValidationError, OutsideWorkflowError
from fastapi_durable.model.records import Json, StreamRowKind

T = TypeVar("T")


class StepStream(Generic[T]):
    """A stream as a step sees it. This one belongs to no step, and drops what is appended."""

    async def append(self, item: T, /) -> None:
        """Queue an item. It is stored within a few hundredths of a second, and before the step's result at the latest.

        Waits while a thousand items, or a megabyte, of the run are queued.

        Raises:
            SerializationError: the item is not of the declared type, or has no JSON form.
            InputValidationError: it is larger than `stream_max_item_size`.
            StreamFullError: the stream has `stream_max_items` items. It fails the step without another attempt.
            StreamClosedError: the workflow has closed the stream.
            OutsideWorkflowError: the attempt is over.
        """

    def append_from_thread(self, item: T, /) -> None:
        """The same for a `def` step, which runs in a thread and cannot await. Raises what `append` raises."""


class AttemptStreams:
    """The streams to which one attempt appends.

    Args:
        open: Returns the streams of the run. Called in the event loop.
        step_id, number: The id of the step, and the number of its attempt.
        max_size: Largest size of an item in bytes.
    """

    __slots__ = ("_is_over", "_open", "_sessions", "codec", "loop", "max_size", "number", "run", "step_id")

    def __init__(self, open: Callable[[], RunStreams], codec: Codec, step_id: str, number: int, max_size: int) -> None:
        self.codec = codec
        self.step_id = step_id
        self.number = number
        self.max_size = max_size
        self.loop = asyncio.get_running_loop()
        self.run: RunStreams | None = None
        self._open = open
        self._sessions: dict[str, _Session] = {}
        self._is_over = False

    def stream(self, name: str, declared: Any) -> StepStream[Any]:
        """Return the stream of this name.

        Raises:
            DefinitionError: the name cannot be stored.
        """
        session = self._sessions.setdefault(checked_name(name), _Session())
        return _RunningStepStream(self, name, declared, session)

    def opened(self) -> RunStreams:
        """Return the streams of the run, if the attempt is not over.

        Raises:
            OutsideWorkflowError: the attempt is over. The caller is a thread or a task that it left behind.
        """
        if self._is_over:
            raise OutsideWorkflowError(
                f"the attempt of step {self.step_id!r} is over, so it appends nothing more to a stream. Await what "
                "appends before the step returns"
            )
        if self.run is None:
            self.run = self._open()
        return self.run

    def end(self) -> None:
        """End the attempt: nothing more is appended."""
        self._is_over = True


class _Session:
    """The progress of an attempt in one stream."""

    __slots__ = ("begun", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.begun: tuple[int, StreamRowKind] | None = None


class _RunningStepStream(StepStream[Any]):
    def __init__(self, attempt: AttemptStreams, name: str, declared: Any, session: _Session) -> None:
        self._attempt = attempt
        self._name = name
        self._declared = declared
        self._session = session

    async def append(self, item: Any, /) -> None:
        attempt, session = self._attempt, self._session
        run = attempt.opened()
        data, size = encoded_item(attempt.codec, item, self._declared, self._name, attempt.max_size)
        # Append one item after the other, so that items keep the order of the calls, even while a call waits.
        async with session.lock:
            if session.begun is None:
                session.begun = await run.begin(self._name, attempt.step_id, attempt.number)
            number, kind = session.begun
            await run.add(self._name, Draft(kind, data, size, attempt.step_id, number))
            session.begun = (number, StreamRowKind.ITEM)

    def append_from_thread(self, item: Any, /) -> None:
        loop = self._attempt.loop
        try:
            if asyncio.get_running_loop() is loop:
                raise OutsideWorkflowError("append_from_thread was called in the event loop: await `append` there")
        except RuntimeError:
            pass  # expected: a thread without an event loop
        appending = self.append(item)
        try:
            future = asyncio.run_coroutine_threadsafe(appending, loop)
        except RuntimeError:
            appending.close()  # the loop was closed before the thread ended
            raise
        future.result()


def encoded_item(codec: Codec, item: Any, declared: Any, stream: str, max_size: int) -> tuple[Json, int]:
    """Return the JSON form of an item, and its size in bytes.

    Raises:
        SerializationError: the item has no JSON form.
        InputValidationError: it is too large.
    """
    data = codec.encode(item, declared, what=f"an item of stream {stream!r}")
    try:
        size = len(orjson.dumps(data))
    except TypeError:
        size = len(json.dumps(data, ensure_ascii=False).encode())  # a number of more than 64 bits
    if size > max_size:
        raise InputValidationError(
            f"an item of stream {stream!r} must have at most {max_size} bytes as JSON, which `stream_max_item_size` "
            f"allows, got {size}"
        )
    return data, size
