"""Queues of an engine: which queues a start may name, and which limits the store holds."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from fastapi_durable.declare.queue import Queue, QueueState
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.errors import DefinitionError, InputValidationError
from fastapi_durable.model.reserved import scoped
from fastapi_durable.model.text import fits_index, index_rule, shown

_KEY_LIMIT = 200


class Place(NamedTuple):
    """A run's queue and its fairness key in it. "" for none."""

    queue: str = ""
    fairness_key: str = ""


NO_PLACE = Place()


def queues_by_name(queues: Iterable[Queue]) -> dict[str, Queue]:
    """Return the declared queues by name.

    Raises:
        DefinitionError: two queues have the same name.
    """
    known: dict[str, Queue] = {}
    for queue in queues:
        if known.setdefault(queue.name, queue) is not queue:
            raise DefinitionError(f"the name of a queue must be unique, got {queue.name!r} twice")
    return known


def place_in_queue(queues: Mapping[str, Queue], name: Any, fairness_key: Any) -> Place:
    """Return the queue and the fairness key of a run that is started. "" for none.

    Raises:
        InputValidationError: no such queue is declared, or the key is invalid.
    """
    if name is None:
        if fairness_key is not None:
            raise InputValidationError("fairness_key must be given together with queue, got it alone")
        return NO_PLACE
    if name not in queues:
        known = ", ".join(sorted(map(repr, queues))) or "none"
        raise InputValidationError(f"no queue {shown(name)} is declared (declared: {known}). Add it to queues=[...]")
    key = "" if fairness_key is None else fairness_key
    if key != "" and not fits_index(key, _KEY_LIMIT):
        raise InputValidationError(f"fairness_key must be {index_rule(_KEY_LIMIT)} or empty, got {shown(key)}")
    return Place(name, key)


def refuse_delay_in_queue(queues: Mapping[str, Queue], place: Place) -> None:
    """Refuse a delayed run in a queue with a rate limit: a claim would take it for a run that continues.

    Raises:
        InputValidationError: the queue has a rate limit.
    """
    if place.queue and queues[place.queue].rate_limit is not None:
        raise InputValidationError(
            f"delay and at must not be given for queue {place.queue!r}, which has a rate_limit. Start a run without a "
            "queue that sleeps, and have it start the other one"
        )


async def know_queue(kernel: Kernel, namespace: str, name: str) -> None:
    """Declare the queue `name` ("" for none) in the namespace of a run that is about to be created.

    Workers declare the queues of their own namespace. A run in a queue that its namespace does not have would wait
    without end. Existing limits stay: the processes that drive runs decide on them, and may be newer than this
    process.
    """
    if not name or namespace in kernel.namespaces_with_queues:
        return
    for queue in kernel.queues.values():
        await kernel.store.add_queue(_declared(queue, namespace, kernel.clock.now()))
    kernel.namespaces_with_queues.add(namespace)


async def declare_queues(kernel: Kernel) -> None:
    """Save the limits of every queue. The limits that were saved last hold for all processes."""
    namespace = namespace_of(kernel.config)
    for queue in kernel.queues.values():
        await kernel.store.save_queue(_declared(queue, namespace, kernel.clock.now()))
    kernel.namespaces_with_queues.add(namespace)


def _declared(queue: Queue, namespace: str, now: datetime) -> QueueState:
    return QueueState(
        id=scoped(namespace, queue.name),
        namespace=namespace,
        name=queue.name,
        concurrency=queue.concurrency,
        worker_concurrency=queue.worker_concurrency,
        rate_limit=queue.rate_limit,
        rate_period=None if queue.rate_period is None else parse_duration(queue.rate_period),
        updated_at=now,
    )
