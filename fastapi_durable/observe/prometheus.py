"""Counters and histograms of this process for Prometheus, from live events.

Each process has its own, and Prometheus adds them up. Counting begins with the first request, so a process that is
never asked pays nothing. A counter that begins at zero then is what Prometheus expects of a process. Names of workflows
and steps are labels, and their number is bounded: further names are counted together.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from fastapi_durable.engine.core.live_events import LiveEvent, LiveEvents, LiveEventType

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_MOST_SERIES: Final = 1000
_OTHER: Final = "(other)"

RUN_ENDS: Final[dict[LiveEventType, str]] = {
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
    "run.dead": "dead",
}
STEP_ENDS: Final[dict[LiveEventType, str]] = {"step.completed": "completed", "step.failed": "failed"}

Labels = tuple[str, ...]


class Counter:
    """Counts events for each combination of labels."""

    def __init__(self, name: str, help: str, labels: Labels) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._counts: dict[Labels, int] = {}

    def add(self, *values: str) -> None:
        place = _place(self._counts, values)
        self._counts[place] = self._counts.get(place, 0) + 1

    def text(self) -> Iterator[str]:
        """Return the metric in Prometheus' text format."""
        yield from _head(self.name, self.help, "counter")
        for values, count in self._counts.items():
            yield f"{self.name}{label_set(self.labels, values)} {count}"


class Histogram:
    """Counts durations in seconds for each combination of labels."""

    def __init__(self, name: str, help: str, labels: Labels) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, duration: timedelta, *values: str) -> None:
        place = _place(self._counts, values)
        seconds = max(0.0, duration.total_seconds())
        counts = self._counts.get(place)
        if counts is None:
            counts = self._counts[place] = [0] * (len(_SECONDS) + 1)
        counts[bisect_left(_SECONDS, seconds)] += 1
        self._sums[place] = self._sums.get(place, 0.0) + seconds

    def text(self) -> Iterator[str]:
        """Return the metric in Prometheus' text format."""
        yield from _head(self.name, self.help, "histogram")
        for values, counts in self._counts.items():
            below = 0
            for bound, count in zip((*map(str, _SECONDS), "+Inf"), counts, strict=True):
                below += count
                yield f"{self.name}_bucket{label_set((*self.labels, 'le'), (*values, bound))} {below}"
            yield f"{self.name}_sum{label_set(self.labels, values)} {self._sums[values]:.9g}"
            yield f"{self.name}_count{label_set(self.labels, values)} {below}"


class ProcessMetrics:
    """Listens to live events, and counts."""

    def __init__(self, events: LiveEvents) -> None:
        self._events = events
        self._listens = False
        self._started = Counter(
            "durable_runs_started_total", "Runs that had their first turn in this process.", ("workflow",)
        )
        self._refused = Counter(
            "durable_runs_refused_total",
            "Runs that an event, a schedule or a dead letter could not start.",
            ("workflow",),
        )
        self._ended = Counter("durable_runs_finished_total", "Runs that ended in this process.", ("workflow", "status"))
        self._steps = Counter(
            "durable_steps_finished_total",
            "Steps that ended in this process.",
            ("workflow", "step", "status"),
        )
        self._attempts = Counter(
            "durable_step_attempts_total", "Attempts that began in this process.", ("workflow", "step")
        )
        self._queued = Histogram(
            "durable_run_queue_seconds", "Time from the creation of a run to its first turn.", ("workflow",)
        )
        self._ran = Histogram(
            "durable_run_duration_seconds", "Time from the creation of a run to its end.", ("workflow", "status")
        )
        self._stepped = Histogram(
            "durable_step_duration_seconds", "Duration of the attempt with which a step ended.", ("workflow", "step")
        )

    def hear(self, event: LiveEvent) -> None:
        """Count an event; a listener of `LiveEvents`."""
        if event.type == "run.started":
            self._started.add(event.workflow)
            if event.duration is not None:
                self._queued.observe(event.duration, event.workflow)
        elif event.type == "run.refused":
            self._refused.add(event.workflow)
        elif event.type in RUN_ENDS:
            self._ended.add(event.workflow, RUN_ENDS[event.type])
            if event.duration is not None:
                self._ran.observe(event.duration, event.workflow, RUN_ENDS[event.type])
        elif event.type == "step.started":
            self._attempts.add(event.workflow, event.name or "")
        elif event.type in STEP_ENDS:
            self._steps.add(event.workflow, event.name or "", STEP_ENDS[event.type])
            if event.duration is not None:
                self._stepped.observe(event.duration, event.workflow, event.name or "")

    def text(self) -> Iterator[str]:
        """Yield all metrics in Prometheus' text format, line by line. Counting begins with the first call."""
        if not self._listens:
            self._listens = True
            self._events.listen(self.hear)
        for each in (
            self._started,
            self._refused,
            self._ended,
            self._attempts,
            self._steps,
            self._queued,
            self._ran,
            self._stepped,
        ):
            yield from each.text()


def _place(known: Mapping[Labels, object], values: Labels) -> Labels:
    return values if values in known or len(known) < _MOST_SERIES else (_OTHER,) * len(values)


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def label_set(names: Sequence[str], values: Sequence[str]) -> str:
    """Return labels in Prometheus' text format."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
