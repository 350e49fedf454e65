"""Tables of immutable rows with one index each, and a journal that can undo changes.

Rows hold JSON values as text, so that neither side can change the other's value afterwards. Values without a JSON form
are refused, as in a database.
"""

import json
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from fastapi_durable.declare.queue import QueueState
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import (
    BufferedEvent,
    BufferedSignal,
    Checkpoint,
    Json,
    Run,
    ScheduleState,
    SignalWaiter,
    StreamRow,
    WorkerRecord,
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Journal:
    """The steps that undo a transaction, newest last. Outside transactions nothing is recorded."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] | None = None

    def open(self) -> None:
        self._steps = []

    def note(self, undo: Callable[[], None]) -> None:
        if self._steps is not None:
            self._steps.append(undo)

    @property
    def length(self) -> int:
        """Return the number of recorded changes."""
        return len(self._steps or ())

    def undo_from(self, length: int) -> None:
        """Undo the changes since the journal had this length. The transaction continues."""
        if self._steps is not None:
            steps, self._steps[length:] = self._steps[length:], []
            for step in reversed(steps):
                step()

    def keep(self) -> None:
        self._steps = None

    def undo(self) -> None:
        steps, self._steps = self._steps or [], None
        for step in reversed(steps):
            step()


class Table(Generic[K, V]):
    """Rows by key, and by the group that `group_of` names."""

    def __init__(self, journal: Journal, group_of: Callable[[V], str]) -> None:
        self._journal = journal
        self._group_of = group_of
        self._rows: dict[K, V] = {}
        self._groups: dict[str, dict[K, V]] = {}

    def __iter__(self) -> Iterator[V]:
        return iter(self._rows.values())

    def get(self, key: K) -> V | None:
        return self._rows.get(key)

    def group(self, name: str) -> list[V]:
        return list(self._groups.get(name, {}).values())

    def put(self, key: K, row: V) -> None:
        self._set(key, row)

    def pop(self, key: K) -> V | None:
        row = self._rows.get(key)
        if row is not None:
            self._set(key, None)
        return row

    def _set(self, key: K, row: V | None) -> None:
        self._journal.note(partial(self._apply, key, self._rows.get(key)))
        self._apply(key, row)

    def _apply(self, key: K, row: V | None) -> None:
        previous = self._rows.pop(key, None)
        if previous is not None:
            name = self._group_of(previous)
            del self._groups[name][key]
            if not self._groups[name]:
                del self._groups[name]
        if row is not None:
            self._rows[key] = row
            self._groups.setdefault(self._group_of(row), {})[key] = row


class KeptSignal(NamedTuple):
    signal: BufferedSignal
    kept_at: datetime


class Tables:
    """The tables of one memory store."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.runs: Table[str, Run] = Table(self.journal, lambda run: run.status)
        self.checkpoints: Table[tuple[str, int], Checkpoint] = Table(self.journal, lambda row: row.run_id)
        self.waiters: Table[str, SignalWaiter] = Table(self.journal, lambda row: row.run_id)
        self.signals: Table[int, KeptSignal] = Table(self.journal, lambda kept: kept.signal.token)
        self.events: Table[str, BufferedEvent] = Table(self.journal, lambda row: row.name)
        self.stream_rows: Table[tuple[str, str, int], StreamRow] = Table(self.journal, lambda row: row.run_id)
        self.schedules: Table[str, ScheduleState] = Table(self.journal, lambda row: row.id)
        self.workers: Table[str, WorkerRecord] = Table(self.journal, lambda row: row.id)
        self.queues: Table[str, QueueState] = Table(self.journal, lambda row: row.id)
        self.last_signal_id = 0


def freeze_run(run: Run) -> Run:
    return replace(
        run,
        input=_to_text(run.input),
        output=_to_text(run.output),
        search_attributes=dict(run.search_attributes),
    )


def thaw_run(row: Run) -> Run:
    return replace(
        row,
        input=_from_text(row.input),
        output=_from_text(row.output),
        search_attributes=dict(row.search_attributes),
    )


def freeze_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    return replace(
        checkpoint,
        input=_to_text(checkpoint.input),
        output=_to_text(checkpoint.output),
        events=tuple(map(_to_text, checkpoint.events)),
    )


def thaw_checkpoint(row: Checkpoint) -> Checkpoint:
    return replace(
        row, input=_from_text(row.input), output=_from_text(row.output), events=tuple(map(_from_text, row.events))
    )


def freeze_signal(signal: BufferedSignal) -> BufferedSignal:
    return replace(signal, payload=_to_text(signal.payload))


def thaw_signal(row: BufferedSignal) -> BufferedSignal:
    return replace(row, payload=_from_text(row.payload))


def freeze_event(event: BufferedEvent) -> BufferedEvent:
    return replace(event, payload=_to_text(event.payload))


def thaw_event(row: BufferedEvent) -> BufferedEvent:
    return replace(row, payload=_from_text(row.payload))


def freeze_stream_row(row: StreamRow) -> StreamRow:
    return replace(row, data=_to_text(row.data))


def thaw_stream_row(row: StreamRow) -> StreamRow:
    return replace(row, data=_from_text(row.data))


def _to_text(value: Json) -> str | None:
    if value is None:
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()  # a lone surrogate is not a character
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"a value has no JSON form: {error}") from error
    return text


def _from_text(text: str | None) -> Json:
    return None if text is None else json.loads(text)
