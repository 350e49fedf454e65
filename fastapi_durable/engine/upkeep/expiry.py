"""Execution timeouts: runs whose `expires_at` has passed are cancelled, wherever they stand, and their children too.

Every worker looks, a batch at a time. Two of them may find the same run: one cancels it, the other finds it ended. Each
cancel checks the time again under the run's lock, since a retry gives a run new time.
"""

import logging

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.cancellation import cancel
from fastapi_durable.model.errors import DurableError, RunNotFoundError
from fastapi_durable.model.records import ErrorRecord, Run, RunStatus

_log = logging.getLogger("fastapi_durable")

EXECUTION_TIMEOUT = ErrorRecord(message="execution timeout", code="execution_timeout", retryable=False)
_BATCH = 100


async def cancel_expired(kernel: Kernel) -> int:
    """Cancel one batch of expired runs; how many of them are over now. A full batch means that there may be more."""
    now = kernel.clock.now()
    expired = await kernel.store.list_expired_runs(now, limit=_BATCH, namespace=kernel.config.namespace)
    over = 0
    for run_id in expired:

        def still_expired(run: Run) -> bool:
            return run.expires_at is not None and run.expires_at <= now and run.status is not RunStatus.CANCELLING

        try:
            await cancel(kernel, run_id, error=EXECUTION_TIMEOUT, only_if=still_expired)
        except RunNotFoundError:
            pass
        except DurableError as error:
            # One run that cannot be cancelled now does not keep the others; the next look finds it again, and is not
            # to follow at once because of it.
            _log.warning("run %s is over its execution timeout and could not be cancelled: %s", run_id, error)
            continue
        over += 1
    return over


def is_full(number: int) -> bool:
    return number >= _BATCH
