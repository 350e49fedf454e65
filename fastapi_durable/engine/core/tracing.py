"""OpenTelemetry: a span for each turn of a run and for each attempt of a step, linked to what started the run.

Only the OpenTelemetry API is used, which FastAPI depends on. The application's SDK exports the spans. Without an SDK,
no span is created, and no trace is stored. A replayed step creates no span, because it is not executed.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fastapi_durable.engine.core.interception import StepExecution, StepInterceptor
from fastapi_durable.model.records import Run
from fastapi_durable.model.text import class_name, text_of

_NAME = "fastapi_durable"
_NAMED = OTEL_PYTHON_TRACER_PROVIDER in os.environ
_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()


def current_traceparent() -> str | None:
    """Return the current span in W3C form, to be stored with a run. None if there is no span."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER)


def turn_span(run: Run) -> AbstractContextManager[Callable[[Exception], None]]:
    """Surround one turn of a run with a span. Yield a function that records the error of the body."""
    return _NO_SPAN if _is_off() else _turn_span(run)


def with_step_spans(interceptors: tuple[StepInterceptor, ...]) -> tuple[StepInterceptor, ...]:
    """Return the interceptors. If spans are exported, the outermost one creates a span for each attempt of a step."""
    return interceptors if _is_off() else (_step_span, *interceptors)


@contextmanager
def _turn_span(run: Run) -> Iterator[Callable[[Exception], None]]:
    attributes: dict[str, str | int] = {
        "durable.run.id": run.id,
        "durable.workflow.name": run.workflow,
        "durable.workflow.version": run.workflow_version,
        "durable.namespace": run.namespace,
    }
    tracer = trace.get_tracer_provider().get_tracer(_NAME)
    with tracer.start_as_current_span(
        f"workflow {run.workflow}", context=_parent(run.traceparent), kind=SpanKind.CONSUMER, attributes=attributes
    ) as span:
        yield lambda error: _tell(span, error)


@asynccontextmanager
async def _step_span(execution: StepExecution) -> AsyncIterator[None]:
    attributes: dict[str, str | int] = {
        "durable.run.id": execution.run_id,
        "durable.workflow.name": execution.workflow,
        "durable.step.name": execution.name,
        "durable.step.seq": execution.seq,
        "durable.step.attempt": execution.attempt,
    }
    inside = trace.get_current_span().get_span_context().is_valid
    tracer = trace.get_tracer_provider().get_tracer(_NAME)
    with tracer.start_as_current_span(
        f"step {execution.name}",
        context=None if inside else _parent(execution.traceparent),
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _tell(span, error)
            raise


def _ignore(error: Exception) -> None:
    """There is no span, so the error is not recorded."""


_NO_SPAN = nullcontext(_ignore)


def _tell(span: Span, error: Exception) -> None:
    # If the exception cannot be printed, the status still names its class.
    with suppress(Exception):
        span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{class_name(error)}: {text_of(error)}"))


def _parent(traceparent: str | None) -> Context:
    """Return the stored parent. The context in which the worker's task was created does not matter."""
    return Context() if traceparent is None else _propagator.extract({_HEADER: traceparent}, context=Context())


def _is_off() -> bool:
    # Without a provider, each request for one reads the environment, which costs a twentieth of a step.
    if not _NAMED and getattr(trace, "_TRACER_PROVIDER", trace) is None:
        return True
    return isinstance(trace.get_tracer_provider(), ProxyTracerProvider)
