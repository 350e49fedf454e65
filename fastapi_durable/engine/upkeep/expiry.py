"""Execution timeouts: cancels runs whose `expires_at` has passed, whatever their status, and their children too.

Every worker looks for them, a batch at a time. It also checks each run that it claims: after a time without workers, a
run may be claimed before a worker has looked. If two workers find the same run, one cancels it, and the other finds it
ended. Each cancel checks the time again under the run's lock, because a retry gives a run new time.
"""

import logging
from functools import partial

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.cancellation import cancel
from fastapi_durable.model.errors import DurableError, RunNotFoundError
from fastapi_durable.model.records import ErrorRecord, Run, RunStatus

_log = logging.getLogger("fastapi_durable")

EXECUTION_TIMEOUT = ErrorRecord(message="execution timeout", code="execution_timeout", retryable=False)
_BATCH = 100


async def cancel_expired(kernel: Kernel) -> int:
    """Cancel one batch of expired runs, and return how many have ended. A full batch means that there may be more."""
    now = kernel.clock.now()
    expired = await kernel.store.list_expired_runs(now, limit=_BATCH, namespace=kernel.config.namespace)
    over = 0
    for run_id in expired:
        try:
            await _cancel_expired(kernel, run_id)
        except RunNotFoundError:
            pass
        except DurableError as error:
            # A run that cannot be cancelled now does not stop the others. The next poll finds it again, and does not
            # come earlier because of it.
            _log.warning("run %s has exceeded its execution timeout, but could not be cancelled: %s", run_id, error)
            continue
        over += 1
    return over


async def is_over(kernel: Kernel, run: Run) -> bool:
    """Return whether the execution timeout of a run has passed. If so, cancel the run."""
    if not _is_expired(kernel, run):
        return False
    await _cancel_expired(kernel, run.id)
    return True


async def _cancel_expired(kernel: Kernel, run_id: str) -> None:
    await cancel(kernel, run_id, error=EXECUTION_TIMEOUT, only_if=partial(_is_expired, kernel))


def _is_expired(kernel: Kernel, run: Run) -> bool:
    expired = run.expires_at is not None and run.expires_at <= kernel.clock.now()
    return expired and run.status is not RunStatus.CANCELLING


def is_full(number: int) -> bool:
    return number >= _BATCH
