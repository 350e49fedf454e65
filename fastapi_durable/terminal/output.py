"""How runs look in a terminal: tables and timelines with rich, or JSON for scripts."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Protocol

from fastapi_durable.errors import ConfigurationError
from fastapi_durable.gateway import ListedRun
from fastapi_durable.model import Checkpoint, CheckpointStatus
from fastapi_durable.web.schemas import RunDetailView, RunSummary, StepView

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


class Output(Protocol):
    """Prints what a command found or did."""

    def runs(self, runs: Iterable[ListedRun]) -> None: ...

    def run(self, detail: RunDetailView) -> None: ...

    def change(self, at: datetime, run_id: str, what: str, status: str) -> None: ...

    def done(self, result: dict[str, Any], text: str) -> None: ...


class JsonOutput:
    """One JSON document a line."""

    def runs(self, runs: Iterable[ListedRun]) -> None:
        for each in runs:
            self._print(RunSummary.of(each).model_dump(mode="json"))

    def run(self, detail: RunDetailView) -> None:
        self._print(detail.model_dump(mode="json"))

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

    def runs(self, runs: Iterable[ListedRun]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("STATUS", "RUN", "WORKFLOW", "CREATED", "WAITS FOR"):
            table.add_column(name, overflow="fold")
        for each in runs:
            run = each.run
            waits = "" if each.waiting is None else f"{each.waiting.kind} {each.waiting.name}"
            if not waits and run.wake_at is not None and not run.status.is_terminal:
                waits = f"until {_moment(run.wake_at)}"
            table.add_row(
                Text(run.status, style=_COLOURS.get(run.status, "")),
                Text(run.id),
                Text(f"{run.workflow} v{run.workflow_version}"),
                _moment(run.created_at),
                Text(waits),
            )
        self._console.print(table if table.row_count else "no runs")

    def run(self, detail: RunDetailView) -> None:
        from rich.table import Table
        from rich.text import Text

        head = Text(f"{detail.id}  ", style="bold")
        head.append(detail.status, style=_COLOURS.get(detail.status, ""))
        self._console.print(head)
        self._console.print(Text(f"{detail.workflow} v{detail.workflow_version}, created {_moment(detail.created_at)}"))
        if detail.waiting is not None:
            since = _moment(detail.waiting.since)
            self._console.print(Text(f"waits for {detail.waiting.kind} {detail.waiting.name} since {since}"))
        if detail.error is not None:
            self._console.print(Text(f"{detail.error.type or 'error'}: {detail.error.message}", style="red"))
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
                Text(step.name),
                Text(step.status, style=colour),
                str(step.attempts),
                took,
                Text(_bar(step, begin, end), style=colour),
            )
        self._console.print(table)
        if detail.output is not None:
            self._console.print(Text(f"output: {json.dumps(detail.output)}"))

    def change(self, at: datetime, run_id: str, what: str, status: str) -> None:
        from rich.text import Text

        line = Text(f"{at.astimezone():%H:%M:%S}  {run_id}  {what}  ")
        line.append(status, style=_COLOURS.get(status, ""))
        self._console.print(line)

    def done(self, result: dict[str, Any], text: str) -> None:  # noqa: ARG002 (is for scripts)
        self._console.print(text, markup=False)


def what_changed(step: Checkpoint) -> str:
    """A step's part of a line of `tail`."""
    tries = f" (attempt {step.attempts})" if step.attempts > 1 else ""
    reason = f": {step.error.message}" if step.status is CheckpointStatus.FAILED and step.error is not None else ""
    return f"{step.name}{tries}{reason}"


def _bar(step: StepView, begin: datetime, end: datetime) -> str:
    """Where in the run's time the step lies."""
    span = max((end - begin) / timedelta(milliseconds=1), 1.0)
    first = int((step.started_at - begin) / timedelta(milliseconds=1) / span * (_BAR - 1))
    last = int(((step.finished_at or end) - begin) / timedelta(milliseconds=1) / span * _BAR)
    return " " * first + "━" * max(1, last - first)


def _duration(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _moment(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
