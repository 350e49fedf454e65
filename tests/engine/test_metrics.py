"""Counters and histograms of what happens in a process, for Prometheus and for OpenTelemetry."""

from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, NoOpMeter, NoOpMeterProvider

from fastapi_durable import FatalError, MemoryStateStore, RunStatus, WorkflowContext, step
from fastapi_durable import workflow as declare
from fastapi_durable.events import LiveEvents
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.observe.opentelemetry import metered
from fastapi_durable.observe.prometheus import Counter, Histogram, ProcessMetrics
from tests.support.engine_rig import run_has, running_engine, until


@step(max_attempts=2, backoff=None)
async def weigh(parcel: str) -> int:
    if parcel == "heavy":
        raise FatalError("too heavy")
    return len(parcel)


@declare(name='say "hi"\\')
async def send(ctx: WorkflowContext, parcel: str) -> int:
    weight = await ctx.step(weigh, parcel)
    await ctx.wait_for_signal("go")
    return weight


async def happened(engine: Any, store: MemoryStateStore) -> None:
    """One run that waits and completes, and one that fails."""
    handle = await engine.start(send, "abc", run_id="good")
    await engine.start(send, "heavy", run_id="bad")
    await until(run_has(store, "bad", RunStatus.FAILED))
    await until(run_has(store, "good", RunStatus.SUSPENDED))
    await engine.signal("go", None)
    await handle.result()


async def test_what_happens_is_counted_and_a_replay_is_not() -> None:
    """From the first look on; names are escaped as Prometheus wants them."""
    store = MemoryStateStore()
    async with running_engine(store, send) as engine:
        counted = ProcessMetrics(engine.events)
        assert not [line for line in counted.text() if not line.startswith("#")]
        await happened(engine, store)
        lines = list(counted.text())
    name = 'workflow="say \\"hi\\"\\\\"'
    for line in (
        f"durable_runs_started_total{{{name}}} 2",
        f'durable_runs_finished_total{{{name},status="completed"}} 1',
        f'durable_runs_finished_total{{{name},status="failed"}} 1',
        f'durable_step_attempts_total{{{name},step="weigh"}} 2',
        f'durable_steps_finished_total{{{name},step="weigh",status="completed"}} 1',
        f"durable_run_queue_seconds_count{{{name}}} 2",
        f'durable_run_duration_seconds_count{{{name},status="completed"}} 1',
        f'durable_step_duration_seconds_bucket{{{name},step="weigh",le="+Inf"}} 2',
    ):
        assert line in lines, line


def test_buckets_add_up_and_labels_are_bounded() -> None:
    """Names come from code, but a caller may make up any: what is too much is counted together."""
    from datetime import timedelta

    histogram = Histogram("h", "help", ("a",))
    for millis in (1, 5, 6, 10_000_000):
        histogram.observe(timedelta(milliseconds=millis), "x")
    lines = list(histogram.text())
    assert 'h_bucket{a="x",le="0.005"} 2' in lines
    assert 'h_bucket{a="x",le="0.01"} 3' in lines
    assert 'h_bucket{a="x",le="7200.0"} 3' in lines
    assert lines[-3:] == ['h_bucket{a="x",le="+Inf"} 4', 'h_sum{a="x"} 10000.012', 'h_count{a="x"} 4']
    counter = Counter("c", "help", ("a",))
    for number in range(1500):
        counter.add(f"n{number}")
    assert 'c{a="(other)"} 500' in counter.text()
    assert len(list(counter.text())) == 1003


class Kept(NoOpMeterProvider):
    """A provider that keeps what is recorded, as an SDK's would."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self.callbacks: dict[str, Any] = {}

    def get_meter(self, *_: Any, **__: Any) -> Any:
        provider = self

        class Instrument:
            def __init__(self, name: str) -> None:
                self.name = name

            def add(self, value: float, attributes: dict[str, Any]) -> None:
                provider.values.setdefault(self.name, []).append((value, attributes))

            record = add

        class KeptMeter(NoOpMeter):
            def create_counter(self, name: str, *_: Any, **__: Any) -> Any:
                return Instrument(name)

            def create_histogram(self, name: str, *_: Any, **__: Any) -> Any:
                return Instrument(name)

            def create_observable_up_down_counter(self, name: str, callbacks: Any = None, *_: Any, **__: Any) -> Any:
                provider.callbacks[name] = callbacks[0]

        return KeptMeter("kept")


async def test_open_telemetry_gets_the_same_under_its_own_names() -> None:
    store = MemoryStateStore()
    provider = Kept()
    async with running_engine(store, send) as engine:
        with metered(engine._kernel, provider):
            await happened(engine, store)
            (observed,) = provider.callbacks["durable.runs.active"](CallbackOptions())
            assert observed.value == len(engine._kernel.notifications.driven_here)
        before = {name: len(values) for name, values in provider.values.items()}
        await engine.start(send, "later", run_id="later")
        await until(run_has(store, "later", RunStatus.SUSPENDED))
    assert {name: len(values) for name, values in provider.values.items()} == before
    assert before == {
        "durable.runs.started": 2,
        "durable.run.queue.duration": 2,
        "durable.step.attempts": 2,
        "durable.step.duration": 2,
        "durable.runs.finished": 2,
        "durable.run.duration": 2,
    }
    ends = {attributes["durable.status"] for _, attributes in provider.values["durable.runs.finished"]}
    assert ends == {"completed", "failed"}


def test_without_an_sdk_nobody_listens() -> None:
    """An event that nobody hears is not even made."""

    class Engine:
        events = LiveEvents(SystemClock())

    engine: Any = Engine()
    with metered(engine), metered(engine, metrics.get_meter_provider()):
        assert engine.events._listeners == []
