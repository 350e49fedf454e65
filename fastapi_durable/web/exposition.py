"""The metrics for Prometheus: stored runs, this process's worker, and the events of this process."""

from collections.abc import Iterator
from typing import Final

from fastapi_durable.app.runtime import DurableRuntime
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.observe.prometheus import label_set
from fastapi_durable.service.facade import RunGateway

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_COUNTED: Final = 10_000


async def exposition(runtime: DurableRuntime, gateway: RunGateway, *, of_process: bool) -> str:
    """Return all metrics in Prometheus' text format.

    Args:
        gateway: Counts the stored runs that the reader may see.
        of_process: Whether to include the metrics of this process, in all namespaces.
    """
    lines = [*await _stored(gateway), *await _queued(gateway)]
    if of_process:
        lines += [*_worker(runtime), *runtime.metrics.text()]
    return "\n".join(lines) + "\n"


async def _stored(gateway: RunGateway) -> list[str]:
    # Count by status, because an index alone answers that. Facets also read the origin from the rows.
    counts = {status: await gateway.count_runs(RunQuery(status=status), at_most=_COUNTED) for status in RunStatus}
    return [
        f"# HELP durable_runs Runs that are stored, by status; counted up to {_COUNTED}.",
        "# TYPE durable_runs gauge",
        *(f'durable_runs{{status="{status}"}} {count}' for status, count in counts.items()),
    ]


async def _queued(gateway: RunGateway) -> list[str]:
    loads = await gateway.queues(at_most=_COUNTED)
    if not loads:
        return []
    labels = [label_set(("queue", "namespace"), (each.queue.name, each.queue.namespace)) for each in loads]
    return [
        "# HELP durable_queue_running Runs of a queue that are driven now.",
        "# TYPE durable_queue_running gauge",
        *(f"durable_queue_running{label} {each.running}" for label, each in zip(labels, loads, strict=True)),
        f"# HELP durable_queue_waiting Runs that wait for a place in a queue; counted up to {_COUNTED}.",
        "# TYPE durable_queue_waiting gauge",
        *(f"durable_queue_waiting{label} {each.waiting}" for label, each in zip(labels, loads, strict=True)),
    ]


def _worker(runtime: DurableRuntime) -> Iterator[str]:
    if runtime.worker is None:
        return
    health = runtime.worker.health()
    yield "# HELP durable_worker_up Whether this process's worker runs."
    yield "# TYPE durable_worker_up gauge"
    yield f"durable_worker_up {int(health.alive)}"
    yield "# HELP durable_worker_runs_in_flight Runs that this process drives now."
    yield "# TYPE durable_worker_runs_in_flight gauge"
    yield f"durable_worker_runs_in_flight {health.in_flight}"
