"""The console's route for queues: their limits and their runs."""

from datetime import datetime
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fastapi_durable.declare.queue import QueueLoad
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.scope import ScopeDep

_COUNTED: Final = 10_000


class QueueView(BaseModel):
    """A queue in which runs wait for a slot, with the limits that were declared last."""

    name: str
    namespace: str
    running: int = Field(description="Runs that are driven now. Each holds a slot.")
    waiting: int = Field(description="Runs that only the limits keep waiting, counted up to 10,000.")
    waiting_capped: bool = Field(description="There are more than `waiting`.")
    concurrency: int | None = Field(description="Slots over all workers; null: no limit.")
    worker_concurrency: int | None = Field(description="Slots of each worker; null: the worker's own limit.")
    rate_limit: int | None = Field(description="Runs that begin in any period; null: no limit.")
    rate_period_seconds: float | None
    may_begin: int | None = Field(description="How many more runs the rate limit lets begin now; null: any number.")
    begins_again_at: datetime | None = Field(
        description="When the rate limit lets another run begin, if it lets none begin now."
    )
    served_at: datetime | None = Field(description="When a worker last claimed runs of the queue.")

    @classmethod
    def of(cls, load: QueueLoad, now: datetime) -> "QueueView":
        queue = load.queue
        return cls(
            name=queue.name,
            namespace=queue.namespace,
            running=load.running,
            waiting=min(load.waiting, _COUNTED),
            waiting_capped=load.waiting > _COUNTED,
            concurrency=queue.concurrency,
            worker_concurrency=queue.worker_concurrency,
            rate_limit=queue.rate_limit,
            rate_period_seconds=None if queue.rate_period is None else queue.rate_period.total_seconds(),
            may_begin=queue.may_begin(now),
            begins_again_at=queue.next_beginning(now),
            served_at=queue.claimed_at,
        )


class QueueList(BaseModel):
    queues: list[QueueView]


async def list_queues(scope: ScopeDep) -> QueueList:
    """List the queues with their limits and the numbers of their runs."""
    now = scope.runtime.kernel.clock.now()
    return QueueList(queues=[QueueView.of(each, now) for each in await scope.gateway.queues(at_most=_COUNTED + 1)])


def queue_routes() -> APIRouter:
    """Return the route that reads queues."""
    router = APIRouter(route_class=ProblemRoute)
    router.get("/queues", operation_id="listQueues", responses=problem_responses())(list_queues)
    return router
