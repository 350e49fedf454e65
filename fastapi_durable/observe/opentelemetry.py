"""OpenTelemetry metrics of this process, from live events.

Only the API is used, which FastAPI brings: without an SDK in the application the instruments do nothing.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_events import LiveEvent
from fastapi_durable.observe.prometheus import RUN_ENDS, STEP_ENDS

_WORKFLOW = "durable.workflow.name"
_STEP = "durable.step.name"
_STATUS = "durable.status"


class RunMeters:
    """Listens to live events, and records."""

    def __init__(self, meter: Meter) -> None:
        self._started = meter.create_counter(
            "durable.runs.started", unit="{run}", description="Runs that had their first turn in this process."
        )
        self._refused = meter.create_counter(
            "durable.runs.refused",
            unit="{run}",
            description="Runs that an event, a schedule or a dead letter could not start.",
        )
        self._ended = meter.create_counter(
            "durable.runs.finished", unit="{run}", description="Runs that ended in this process."
        )
        self._queued = meter.create_histogram(
            "durable.run.queue.duration", unit="s", description="Time from the creation of a run to its first turn."
        )
        self._ran = meter.create_histogram(
            "durable.run.duration", unit="s", description="Time from the creation of a run to its end."
        )
        self._attempts = meter.create_counter(
            "durable.step.attempts", unit="{attempt}", description="Attempts that began in this process."
        )
        self._stepped = meter.create_histogram(
            "durable.step.duration", unit="s", description="Duration of the attempt with which a step ended."
        )

    def hear(self, event: LiveEvent) -> None:
        """Record an event; a listener of `LiveEvents`."""
        attributes = {_WORKFLOW: event.workflow}
        seconds = None if event.duration is None else event.duration.total_seconds()
        if event.type == "run.started":
            self._started.add(1, attributes)
            if seconds is not None:
                self._queued.record(seconds, attributes)
        elif event.type == "run.refused":
            self._refused.add(1, attributes)
        elif event.type in RUN_ENDS:
            attributes[_STATUS] = RUN_ENDS[event.type]
            self._ended.add(1, attributes)
            if seconds is not None:
                self._ran.record(seconds, attributes)
        elif event.type == "step.started":
            self._attempts.add(1, attributes | {_STEP: event.name or ""})
        elif event.type in STEP_ENDS and seconds is not None:
            self._stepped.record(seconds, attributes | {_STEP: event.name or "", _STATUS: STEP_ENDS[event.type]})


@contextmanager
def metered(kernel: Kernel, provider: MeterProvider | None = None) -> Iterator[None]:
    """Record the events of an engine while the block is open, if the application has set up a meter provider."""
    provider = metrics.get_meter_provider() if provider is None else provider
    if type(provider).__module__.startswith(metrics.__name__):
        # This is the API's default provider, which exports nothing. Creating events for it would slow down every step.
        yield
        return
    meter = provider.get_meter("fastapi_durable")
    stop = kernel.events.listen(RunMeters(meter).hear)
    # Instruments outlive engines.
    driven = weakref.ref(kernel.notifications)

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        notifications = driven()
        if notifications is not None:
            yield Observation(len(notifications.driven_here))

    meter.create_observable_up_down_counter(
        "durable.runs.active", callbacks=[observe], unit="{run}", description="Runs that this process drives now."
    )
    try:
        yield
    finally:
        stop()
