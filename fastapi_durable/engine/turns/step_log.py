"""The log of a running step: lines, outcomes of its parts, and processes with phases.

`current_step()` returns the log of the running step, also in functions that the step calls and in the thread of a `def`
step. Outside a step it returns a log that does nothing. The entries are stored with the checkpoint of the attempt, and
sent as live events.
"""

import asyncio
import threading
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import orjson

from fastapi_durable.declare.scoped_values import ScopedValues
from fastapi_durable.engine.turns.step_stream import AttemptStreams, StepStream
from fastapi_durable.model.clock import to_millis
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.records import Json
from fastapi_durable.model.text import class_name, storable_text, text_of

Level = Literal["debug", "info", "warn", "error"]
T = TypeVar("T")

Outcome = Literal["ok", "failed", "skipped"]

_MOST_EVENTS = 1000
_LONGEST_TEXT = 2000
_LARGEST_DATA = 16_000
_LEVEL_OF: dict[Outcome, Level] = {"ok": "info", "failed": "error", "skipped": "warn"}


class StepLog:
    """The log of one attempt of a step. It holds at most 1,000 events, with texts of 2,000 characters and data of 16
    kB.

    Attributes:
        step_id: Id of the call, the same on every attempt and replay. Use it as an idempotency key for the outside
            world.
        run_id, name, attempt: Those of the running step. All four are None outside a step.
    """

    step_id: str | None = None
    run_id: str | None = None
    name: str | None = None
    attempt: int | None = None

    def debug(self, message: str, *, data: Any = None) -> None:
        self._line("debug", message, data)

    def info(self, message: str, *, data: Any = None) -> None:
        self._line("info", message, data)

    def warn(self, message: str, *, data: Any = None) -> None:
        self._line("warn", message, data)

    def error(self, message: str, *, data: Any = None) -> None:
        self._line("error", message, data)

    def sub(
        self,
        name: str,
        *,
        status: Outcome = "ok",
        message: str | None = None,
        sub_id: str | None = None,
        group: str | None = None,
        data: Any = None,
    ) -> None:
        """Say how one part of the step ended, such as one file of many."""
        self.say(
            _LEVEL_OF[status],
            name if message is None else message,
            subId=sub_id,
            name=name,
            group=group,
            status=status,
            data=data,
        )

    def sub_event(
        self,
        sub_id: str,
        *,
        phase: str | None = None,
        name: str | None = None,
        message: str | None = None,
        level: Level = "info",
        group: str | None = None,
        data: Any = None,
    ) -> None:
        """Say where one part of the step is."""
        text = message if message is not None else phase if phase is not None else name or sub_id
        self.say(level, text, subId=sub_id, name=name, group=group, phase=phase, data=data)

    def sub_process(
        self, name: str, *, sub_id: str | None = None, group: str | None = None, data: Any = None
    ) -> "SubProcess":
        """A part of the step with a beginning and one end: `with log.sub_process("upload") as upload:`.

        It ends as `ok`, as `failed` if the block raises, or as what `skip` and `fail` say; with its duration.
        """
        return SubProcess(self, name, sub_id=sub_id or str(uuid.uuid4()), group=group, data=data)

    @overload
    def stream(self, name: str, type: type[T], /) -> StepStream[T]: ...
    @overload
    def stream(self, name: str, /) -> StepStream[Any]: ...
    def stream(self, name: str, type: Any = Any, /) -> StepStream[Any]:  # noqa: ARG002
        """A stream of the step's run, to which the step appends items of `type`; see docs/how-to/streams.md.

        Items of an attempt stay if the attempt fails. Each item contains its attempt, and readers see where a later
        attempt begins again. Outside a step, items are dropped.

        Raises:
            DefinitionError: the name cannot be stored, or this is a transaction or an operation of an entity, which
                has no streams.
        """
        return StepStream()

    def say(self, level: Level, message: str, *, data: Any = None, **fields: str | None) -> None:
        """Drop the entry, because this is not a step."""

    def _line(self, level: Level, message: str, data: Any) -> None:
        self.say(level, message, data=data)

    def now(self) -> datetime | None:
        """Return the time, for durations."""
        return None


class RunningStepLog(StepLog):
    """Keeps the entries, and passes them on at once.

    Args:
        encode: Returns the JSON form of data.
        tell: Called in the event loop with each event, in its stored form.
        streams: The streams of the attempt. None: this kind of call has no streams.
    """

    def __init__(
        self,
        *,
        step_id: str,
        run_id: str,
        name: str,
        attempt: int,
        now: Callable[[], datetime],
        encode: Callable[[Any], Json],
        tell: Callable[[Json], None],
        streams: AttemptStreams | None = None,
    ) -> None:
        self.step_id = step_id
        self.run_id = run_id
        self.name = name
        self.attempt = attempt
        self._now = now
        self._encode = encode
        self._tell = tell
        self.streams = streams
        self._events: list[Json] = []
        self._left_out = 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @overload
    def stream(self, name: str, type: type[T], /) -> StepStream[T]: ...
    @overload
    def stream(self, name: str, /) -> StepStream[Any]: ...
    def stream(self, name: str, type: Any = Any, /) -> StepStream[Any]:
        """See `StepLog`."""
        if self.streams is None:
            raise DefinitionError(
                f"{self.name!r} is a transaction or an operation of an entity, which cannot append to a stream. Append "
                "in a step, or in the workflow's body"
            )
        return self.streams.stream(name, type)

    @property
    def events(self) -> tuple[Json, ...]:
        """Return the entries in their stored form."""
        if not self._left_out:
            return tuple(self._events)
        message = f"{self._left_out} more events were left out"
        return (*self._events, {"at": to_millis(self._now()), "level": "warn", "message": message})

    def now(self) -> datetime | None:
        return self._now()

    def say(self, level: Level, message: str, *, data: Any = None, **fields: str | None) -> None:
        if len(self._events) >= _MOST_EVENTS:
            self._left_out += 1
            return
        event: dict[str, Json] = {
            "at": to_millis(self._now()),
            "level": level,
            "message": storable_text(text_of(message), _LONGEST_TEXT),
        }
        event.update((key, storable_text(text, _LONGEST_TEXT)) for key, text in fields.items() if text is not None)
        if data is not None:
            event["data"] = self._storable(data)
        self._events.append(event)
        if threading.get_ident() == self._thread:
            self._tell(event)
        else:
            try:
                self._loop.call_soon_threadsafe(self._tell, event)
            except RuntimeError:
                pass  # the loop was closed before the thread ended

    def _storable(self, data: Any) -> Json:
        """A log must not fail its step, so text replaces data that cannot be stored."""
        try:
            encoded = self._encode(data)
            size = len(orjson.dumps(encoded))
        except Exception:
            return storable_text(text_of(data, repr), _LONGEST_TEXT)
        return encoded if size <= _LARGEST_DATA else f"(left out: {size} bytes)"


class SubProcess:
    """A part of a running step. All its entries carry its id."""

    def __init__(self, log: StepLog, name: str, *, sub_id: str, group: str | None, data: Any) -> None:
        self.sub_id = sub_id
        self._log = log
        self._name = name
        self._group = group
        self._data = data
        self._outcome: tuple[Outcome, str | None, Any] | None = None
        self._started_at: datetime | None = None

    def __enter__(self) -> Self:
        self._started_at = self._log.now()
        self._say("info", self._name, phase="started", data=self._data)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status, message, data = self._outcome or ("ok", None, None)
        if error is not None:
            status, message = "failed", text_of(error) or class_name(error)
        data = {"value": data} if data is not None and not isinstance(data, dict) else dict(data or {})
        ended_at = self._log.now()
        if ended_at is not None and self._started_at is not None:
            data.setdefault("durationMs", to_millis(ended_at) - to_millis(self._started_at))
        self._say(_LEVEL_OF[status], message or self._name, status=status, data=data)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def debug(self, message: str, *, data: Any = None) -> None:
        self._say("debug", message, data=data)

    def info(self, message: str, *, data: Any = None) -> None:
        self._say("info", message, data=data)

    def warn(self, message: str, *, data: Any = None) -> None:
        self._say("warn", message, data=data)

    def error(self, message: str, *, data: Any = None) -> None:
        self._say("error", message, data=data)

    def phase(self, phase: str, *, data: Any = None) -> None:
        """The part has come so far."""
        self._say("info", phase, phase=phase, data=data)

    def done(self, *, data: Any = None) -> None:
        """It will end as `ok`, with this data."""
        self._outcome = ("ok", None, data)

    def skip(self, reason: str, *, data: Any = None) -> None:
        """It will end as `skipped`."""
        self._outcome = ("skipped", reason, data)

    def fail(self, reason: str, *, data: Any = None) -> None:
        """It will end as `failed`, without failing the step."""
        self._outcome = ("failed", reason, data)

    def _say(
        self, level: Level, message: str, *, phase: str | None = None, status: str | None = None, data: Any = None
    ) -> None:
        self._log.say(
            level,
            message,
            subId=self.sub_id,
            name=self._name,
            group=self._group,
            status=status,
            phase=phase,
            data=data,
        )


_NO_STEP = StepLog()
_current: ContextVar[StepLog] = ContextVar("durable_step_log", default=_NO_STEP)


def current_step() -> StepLog:
    """The log of the step in which this is called; outside a step, one that does nothing."""
    return _current.get()


def logged_as_current(log: StepLog) -> ScopedValues:
    """Make `current_step()` return the log while a step's function runs."""
    return ScopedValues((_current, log))
