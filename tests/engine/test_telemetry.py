"""Spans of runs and steps, seen through a provider that keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    FatalError,
    MemoryStateStore,
    RunStatus,
    WorkflowContext,
    step,
    workflow,
)
from tests.support.engine_rig import has_status, run_has, until


class KeptSpan(NonRecordingSpan):
    def __init__(self, name: str, parent: SpanContext, number: int) -> None:
        trace_id = parent.trace_id if parent.is_valid else number
        super().__init__(SpanContext(trace_id, number, is_remote=False, trace_flags=TraceFlags(1)))
        self.name = name
        self.parent = parent
        self.error: str | None = None

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.error = status.description


class Provider(trace.TracerProvider, trace.Tracer):
    """Keeps every span in the order of their starts."""

    def __init__(self) -> None:
        self.spans: list[KeptSpan] = []

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return self

    def start_span(self, name: str, context: Any = None, *_: Any, **__: Any) -> KeptSpan:
        span = KeptSpan(name, trace.get_current_span(context).get_span_context(), len(self.spans) + 1)
        self.spans.append(span)
        return span

    @contextmanager
    def start_as_current_span(self, name: str, context: Any = None, *_: Any, **__: Any) -> Iterator[KeptSpan]:  # type: ignore[override]
        span = self.start_span(name, context)
        with trace.use_span(span):
            yield span


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    provider = Provider()
    # What `trace.set_tracer_provider` sets, which can be done once in a process only.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider


@step
async def good() -> str:
    return "good"


@step
async def bad() -> None:
    raise FatalError("no")


@workflow
async def flow(ctx: WorkflowContext) -> None:
    await ctx.step(good)
    await ctx.wait_for_signal("go")
    await ctx.step(bad)


async def test_turns_and_steps_have_spans_and_replays_have_none(provider: Provider) -> None:
    """All belong to the trace of the request that started the run, across its turns."""
    options = DurableOptions(store=MemoryStateStore(), poll_interval="10ms")
    async with DurableModule.for_root(options, workflows=[flow]).running() as runtime:
        with provider.start_as_current_span("request") as request:
            handle = await runtime.service.start(flow, run_id="run")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await runtime.service.signal("go")
        await until(lambda: has_status(handle, RunStatus.FAILED))
        run = await runtime.store.find_run("run")
    assert run is not None
    assert run.traceparent is not None
    assert [span.name for span in provider.spans] == [
        "request",
        "workflow flow",
        "step good",
        "workflow flow",
        "step bad",
    ]
    _, first, done, second, failed = provider.spans
    own = request.get_span_context()
    assert first.parent.span_id == second.parent.span_id == own.span_id
    assert done.parent.span_id == first.get_span_context().span_id
    assert failed.parent.span_id == second.get_span_context().span_id
    assert {span.get_span_context().trace_id for span in provider.spans} == {own.trace_id}
    assert (done.error, failed.error) == (None, "FatalError: no")
    assert first.error is None
    assert second.error is not None
    assert second.error.startswith("StepFailedError: ")


async def test_every_process_that_drives_a_run_adds_to_the_trace_of_the_request(provider: Provider) -> None:
    """One starts it, another one drives it, and a third one goes on where that one stopped."""
    store = MemoryStateStore()

    def module() -> DurableModule:
        return DurableModule.for_root(DurableOptions(store=store, poll_interval="10ms"), workflows=[flow])

    async with module().running(role="api") as runtime:
        with provider.start_as_current_span("request") as request:
            await runtime.service.start(flow, run_id="run")
    async with module().running(role="worker"):
        await until(run_has(store, "run", RunStatus.SUSPENDED))
    async with module().running(role="worker") as runtime:
        await runtime.service.signal("go")
        await until(run_has(store, "run", RunStatus.FAILED))
    names = [span.name for span in provider.spans]
    assert names == ["request", "workflow flow", "step good", "workflow flow", "step bad"]
    assert {span.get_span_context().trace_id for span in provider.spans} == {request.get_span_context().trace_id}


async def test_without_a_provider_nothing_is_made_or_stored() -> None:
    """A run remembers no trace that there is not."""
    options = DurableOptions(store=MemoryStateStore(), poll_interval="10ms")
    async with DurableModule.for_root(options, workflows=[flow]).running() as runtime:
        await runtime.service.start(flow, run_id="run")
        run = await runtime.store.find_run("run")
        assert run is not None
        assert run.traceparent is None
