"""How runs look in a terminal: tables and timelines with rich, or JSON for scripts."""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.records import CheckpointStatus, ErrorRecord
from fastapi_durable.terminal.printable import printable
from fastapi_durable.web.queue_routes import QueueView
from fastapi_durable.web.schemas import RunDetailView, RunSummary, StepView
from fastapi_durable.web.upkeep_routes import ScheduleView, WorkerView

if TYPE_CHECKING:
    from rich.text import Text

_COLOURS = {
    "completed": "green",
    "failed": "red",
    "dead": "red",
    "blocked": "yellow",
    "cancelling": "yellow",
    "running": "blue",
    "pending": "blue",
    "suspended": "magenta",
}
_BAR = 24
_UNBROKEN = 1000
"""Width in columns if the terminal does not report it."""
_SHARE_OF_IDS = 0.6


class Output(Protocol):
    """Prints the result of a command."""

    def runs(self, runs: Iterable[RunSummary]) -> None: ...

    def run(self, detail: RunDetailView) -> None: ...

    def workers(self, workers: Sequence[WorkerView]) -> None: ...

    def queues(self, queues: Sequence[QueueView]) -> None: ...

    def schedules(self, schedules: Sequence[ScheduleView]) -> None: ...

    def change(self, at: datetime, run_id: str, what: str, status: str) -> None: ...

    def waiting(self, text: str | None) -> None:
        """Show what the command is waiting for. None: it no longer waits."""

    def done(self, result: dict[str, Any], text: str) -> None: ...


class JsonOutput:
    """One JSON document a line."""

    def runs(self, runs: Iterable[RunSummary]) -> None:
        for each in runs:
            self._print(each.model_dump(mode="json"))

    def run(self, detail: RunDetailView) -> None:
        self._print(detail.model_dump(mode="json"))

    def workers(self, workers: Sequence[WorkerView]) -> None:
        for each in workers:
            self._print(each.model_dump(mode="json"))

    def queues(self, queues: Sequence[QueueView]) -> None:
        for each in queues:
            self._print(each.model_dump(mode="json"))

    def schedules(self, schedules: Sequence[ScheduleView]) -> None:
        for each in schedules:
            self._print(each.model_dump(mode="json"))

    def waiting(self, text: str | None) -> None:
        """Print nothing, because scripts read only documents."""

    def change(self, at: datetime, run_id: str, what: str, status: str) -> None:
        self._print({"at": at.isoformat(), "run_id": run_id, "what": what, "status": status})

    def done(self, result: dict[str, Any], text: str) -> None:  # noqa: ARG002 (is for people)
        self._print(result)

    def _print(self, value: Any) -> None:
        print(json.dumps(value), flush=True)  # noqa: T201 (this is the output)


class RichOutput:
    """Tables and colours, as far as the terminal has them.

    Raises:
        ConfigurationError: rich is not installed.
    """

    def __init__(self) -> None:
        try:
            from rich.console import Console
        except ImportError as error:
            raise ConfigurationError(
                "tables need rich: pip install 'fastapi-durable[cli]', or use --json for one document a line"
            ) from error
        self._console = Console(highlight=False)
        if not self._console.is_terminal and "COLUMNS" not in os.environ:
            # In a file or a pipe, each line is one run.
            self._console.width = _UNBROKEN
        self._status: Any = None

    def runs(self, runs: Iterable[RunSummary]) -> None:
        from rich.table import Table

        found = list(runs)
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("STATUS", "RUN", "WORKFLOW", "CREATED", "WAITS FOR"):
            table.add_column(name, overflow="fold")
        # Ids are copied by users, so wrap the other columns first, unless that leaves them no room.
        longest = max((len(printable(run.id)) for run in found), default=0)
        table.columns[1].no_wrap = longest <= self._console.width * _SHARE_OF_IDS
        for run in found:
            waits = "" if run.waiting is None else f"{run.waiting.kind} {run.waiting.name}"
            if not waits and run.wake_at is not None and not run.status.is_terminal:
                waits = f"until {_moment(run.wake_at)}"
            table.add_row(
                _text(run.status, style=_COLOURS.get(run.status, "")),
                _text(run.id),
                _text(f"{run.workflow} v{run.workflow_version}"),
                _moment(run.created_at),
                _text(waits),
            )
        self._console.print(table if table.row_count else "no runs")

    def run(self, detail: RunDetailView) -> None:
        from rich.table import Table

        head = _text(f"{detail.id}  ", style="bold")
        head.append(detail.status, style=_COLOURS.get(detail.status, ""))
        self._console.print(head)
        created = _moment(detail.created_at)
        self._console.print(_text(f"{detail.workflow} v{detail.workflow_version}, created {created}"))
        if detail.waiting is not None:
            since = _moment(detail.waiting.since)
            self._console.print(_text(f"waits for {detail.waiting.kind} {detail.waiting.name} since {since}"))
        if detail.error is not None:
            self._console.print(_text(f"{detail.error.type or 'error'}: {detail.error.message}", style="red"))
            if stack := ErrorRecord.from_json(detail.error.model_dump()).root.stack:
                self._console.print(_text(stack.rstrip(), style="dim"), soft_wrap=True)
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("SEQ", "STEP", "STATUS", "TRIES", "TOOK"):
            table.add_column(name, overflow="fold")
        table.add_column("", overflow="crop", no_wrap=True)
        begin = min((step.started_at for step in detail.timeline), default=detail.created_at)
        end = max((step.finished_at or step.started_at for step in detail.timeline), default=begin)
        for step in detail.timeline:
            colour = _COLOURS.get(step.status, "")
            took = "" if step.finished_at is None else _duration(step.finished_at - step.started_at)
            table.add_row(
                str(step.seq),
                _text(step.name),
                _text(step.status, style=colour),
                str(step.attempts),
                took,
                _text(_bar(step, begin, end), style=colour),
            )
        self._console.print(table)
        if detail.output is not None:
            self._console.print(_text(f"output: {json.dumps(detail.output)}"))

    def workers(self, workers: Sequence[WorkerView]) -> None:
        from rich.table import Table

        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("WORKER", "HOST", "LOAD", "LAST SAID SO", "NAMESPACE", "WORKFLOWS"):
            table.add_column(name, overflow="fold")
        for each in workers:
            full = each.in_flight >= each.concurrency
            table.add_row(
                _text(each.id),
                _text(f"{each.host} ({each.pid})"),
                _text(f"{each.in_flight} of {each.concurrency}", style="yellow" if full else ""),
                _moment(each.beat_at),
                _text(each.namespace or "all"),
                _text(", ".join(each.workflows)),
            )
        self._console.print(table if table.row_count else "no worker has reported within the last 30 seconds")

    def queues(self, queues: Sequence[QueueView]) -> None:
        from rich.table import Table

        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("QUEUE", "NAMESPACE", "RUNNING", "WAITING", "EACH WORKER", "MAY BEGIN"):
            table.add_column(name, overflow="fold")
        for each in queues:
            full = each.concurrency is not None and each.running >= each.concurrency
            places = "" if each.concurrency is None else f" of {each.concurrency}"
            table.add_row(
                _text(each.name),
                _text(each.namespace),
                _text(f"{each.running}{places}", style="yellow" if full else ""),
                f"{each.waiting}{'+' if each.waiting_capped else ''}",
                "" if each.worker_concurrency is None else f"up to {each.worker_concurrency}",
                _text(_rate(each), style="yellow" if each.may_begin == 0 else ""),
            )
        self._console.print(table if table.row_count else "no queues")

    def schedules(self, schedules: Sequence[ScheduleView]) -> None:
        from rich.table import Table

        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("SCHEDULE", "WORKFLOW", "WHEN", "NEXT", "LAST", "LAST RUN"):
            table.add_column(name, overflow="fold")
        for each in schedules:
            every = "" if each.every_seconds is None else f"every {_duration(timedelta(seconds=each.every_seconds))}"
            paused = _text("paused", style="yellow")
            table.add_row(
                _text(each.key),
                _text(each.workflow),
                _text(f"{each.cron} {each.timezone}" if each.cron is not None else every),
                paused if each.paused else _text("" if each.next_fire_at is None else _moment(each.next_fire_at)),
                "" if each.last_fire_at is None else _moment(each.last_fire_at),
                _text(each.last_run_id or ""),
            )
        self._console.print(table if table.row_count else "no schedules")

    def waiting(self, text: str | None) -> None:
        if self._status is not None and text is None:
            self._status.stop()
            self._status = None
        elif text is not None and self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(_text(text))
                self._status.start()
            self._status.update(_text(text))

    def change(self, at: datetime, run_id: str, what: str, status: str) -> None:

        line = _text(f"{at.astimezone():%H:%M:%S}  {run_id}  {what}  ")
        line.append(status, style=_COLOURS.get(status, ""))
        self._console.print(line)

    def done(self, result: dict[str, Any], text: str) -> None:  # noqa: ARG002 (is for scripts)
        self._console.print(_text(text))


def what_changed(step: StepView) -> str:
    """Return a step's part of a line of `tail`."""
    tries = f" (attempt {step.attempts})" if step.attempts > 1 else ""
    reason = f": {step.error.message}" if step.status is CheckpointStatus.FAILED and step.error is not None else ""
    return f"{step.name}{tries}{reason}"


def _text(value: str, style: str = "") -> "Text":
    """Return a text of a run or a server without markup and control characters."""
    from rich.text import Text

    return Text(printable(value), style=style)


def _rate(queue: QueueView) -> str:
    """Return the number of runs that the rate limit allows now."""
    if queue.rate_limit is None or queue.rate_period_seconds is None:
        return ""
    limit = f"{queue.may_begin} of {queue.rate_limit} in {_duration(timedelta(seconds=queue.rate_period_seconds))}"
    return limit if queue.begins_again_at is None else f"{limit}, again at {_moment(queue.begins_again_at)}"


def _bar(step: StepView, begin: datetime, end: datetime) -> str:
    """Return a bar that shows the step within the run's time."""
    span = max((end - begin) / timedelta(milliseconds=1), 1.0)
    first = int((step.started_at - begin) / timedelta(milliseconds=1) / span * (_BAR - 1))
    last = int(((step.finished_at or end) - begin) / timedelta(milliseconds=1) / span * _BAR)
    return " " * first + "━" * max(1, last - first)


def _duration(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    # Use the largest unit with a value of at least one, so that a rate for a day is shown per day.
    size, unit = next(each for each in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if seconds >= each[0])
    return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"


def _moment(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
