"""OpenTelemetry: a span for each turn of a run and for each attempt of a step, linked to what started the run.

Only the API is used, which FastAPI brings; spans go wherever the application's SDK sends them. Without one nothing is
made, and nothing is stored. A replayed step makes no span, because it is not executed.
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
    """The W3C form of the span that is open here, for a run to remember; None if there is none."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER)


def turn_span(run: Run) -> AbstractContextManager[Callable[[Exception], None]]:
    """Surrounds one turn of a run; yields what to call with the error that the body raised, if it did."""
    return _NO_SPAN if _is_off() else _turn_span(run)


def with_step_spans(interceptors: tuple[StepInterceptor, ...]) -> tuple[StepInterceptor, ...]:
    """The interceptors, with one that makes a span of each attempt of a step around them, if spans go anywhere."""
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
    """There is no span to tell it."""


_NO_SPAN = nullcontext(_ignore)


def _tell(span: Span, error: Exception) -> None:
    # Of an exception that cannot be printed, the status tells what there is.
    with suppress(Exception):
        span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{class_name(error)}: {text_of(error)}"))


def _parent(traceparent: str | None) -> Context:
    """What is stored counts, and not where the worker's task happened to be created."""
    return Context() if traceparent is None else _propagator.extract({_HEADER: traceparent}, context=Context())


def _is_off() -> bool:
    # While there is no provider, asking for it looks into the environment each time: a twentieth of what a step costs.
    if not _NAMED and getattr(trace, "_TRACER_PROVIDER", trace) is None:
        return True
    return isinstance(trace.get_tracer_provider(), ProxyTracerProvider)
