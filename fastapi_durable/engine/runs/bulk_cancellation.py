"""`engine.cancel_where`: cancel every live run that a query selects, and report the result of each."""

from dataclasses import dataclass, field, replace

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.cancellation import cancel
from fastapi_durable.model.errors import DurableError, RunNotFoundError
from fastapi_durable.model.records import LIVE_STATUSES, RunQuery, RunStatus

_PAGE = 200


@dataclass(slots=True)
class BulkCancellation:
    """The result of `cancel_where`.

    Attributes:
        cancelled: Number of runs that this call cancelled, directly or with their parent.
        cancelling: Number of runs whose steps are being undone.
        ended: Number of runs that ended, or were deleted, before this call reached them.
        failures: Why a run could not be cancelled, by run id.
    """

    cancelled: int = 0
    cancelling: int = 0
    ended: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def matched(self) -> int:
        """The number of live runs that the query selected."""
        return self.cancelled + self.cancelling + self.ended + len(self.failures)


async def cancel_where(kernel: Kernel, query: RunQuery, *, compensate: bool = False) -> BulkCancellation:
    """Cancel all selected runs. A run that cannot be cancelled does not stop the others.

    Runs that start after the call began are not touched.
    """
    result = BulkCancellation()
    statuses = LIVE_STATUSES if query.statuses is None else query.statuses & LIVE_STATUSES
    until = kernel.clock.now() if query.created_until is None else min(query.created_until, kernel.clock.now())
    page_query = replace(query, statuses=statuses, limit=_PAGE, offset=0, before=None)
    begun = kernel.clock.now()
    while page := await kernel.store.list_runs(page_query):
        for run in page:
            if run.created_at > begun or (query.created_until is not None and run.created_at >= until):
                continue
            try:
                after = await cancel(kernel, run.id, compensate=compensate)
            except RunNotFoundError:
                result.ended += 1
            except DurableError as error:
                result.failures[run.id] = str(error)
            else:
                _count(result, after.status)
        last = page[-1]
        page_query = replace(page_query, before=(last.created_at, last.id))
    return result


def _count(result: BulkCancellation, status: RunStatus) -> None:
    match status:
        case RunStatus.CANCELLED:
            result.cancelled += 1
        case RunStatus.CANCELLING:
            result.cancelling += 1
        case _:
            result.ended += 1
