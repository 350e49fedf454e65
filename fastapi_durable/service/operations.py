"""What operators do to runs: cancel, pause, retry, fork and delete."""

from dataclasses import replace
from typing import Any

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.operating.deletion import delete_run
from fastapi_durable.engine.operating.fork import fork
from fastapi_durable.engine.operating.new_input import retry_with_input
from fastapi_durable.engine.operating.pause import pause, resume
from fastapi_durable.engine.operating.requeue import requeue
from fastapi_durable.engine.runs.addressing import require_visible
from fastapi_durable.engine.runs.bulk_cancellation import BulkCancellation, cancel_where
from fastapi_durable.engine.runs.cancellation import cancel_chain
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.errors import RunNotFoundError
from fastapi_durable.model.records import Run, RunQuery


class Operations:
    """The part of the façade that acts on runs as a whole."""

    _kernel: Kernel

    async def cancel(self, run_id: str, *, compensate: bool = False) -> Run:
        """Cancel a run and its live descendants, whichever process drives them.

        A run that has ended stays as it is. If the run continued as a new run, the new run is cancelled.

        Args:
            run_id: Id of the run.
            compensate: Whether to undo finished steps first, as they declare with `compensate=`. The run is
                `cancelling` meanwhile.

        Returns:
            The run as it is now.

        Raises:
            RunNotFoundError: no run has this id.
        """
        await require_visible(self._kernel, run_id)
        return await cancel_chain(self._kernel, run_id, compensate=compensate)

    async def cancel_where(self, query: RunQuery, *, compensate: bool = False) -> BulkCancellation:
        """Cancel every live run that a query selects. The query's `limit` and `offset` do not count.

        Runs that are created after the call began are left alone.

        Args:
            query: Conditions that select the runs.
            compensate: Whether to undo finished steps first; see `cancel`.

        Returns:
            How many runs were cancelled, are being undone, or had ended, and which could not be cancelled and why.
        """
        namespace = self._kernel.config.namespace
        if namespace is not None and query.namespace not in (None, namespace):
            return BulkCancellation()
        scoped = query if namespace is None else replace(query, namespace=namespace)
        return await cancel_where(self._kernel, scoped, compensate=compensate)

    async def pause(self, run_id: str) -> Run:
        """Hold a run until `resume`, whichever worker drives it. If the run continued as a new run, that one is held.

        A run that is being driven stops at its next call: what is under way is finished and recorded. Signals, events,
        results of children and other deliveries are kept for it. Its children continue, its execution timeout keeps
        counting, and it can be cancelled. It keeps its slot of a singleton; its place in a queue is free for others.

        Args:
            run_id: Id of the run.

        Returns:
            The run as it is now. It may still be running, towards its next call.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run has ended, is being cancelled, or belongs to the engine.
        """
        await require_visible(self._kernel, run_id)
        return await pause(self._kernel, run_id)

    async def resume(self, run_id: str) -> Run:
        """Let a paused run continue. A run that is not paused stays as it is.

        Args:
            run_id: Id of the run.

        Returns:
            The run as it is now.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run has ended.
        """
        await require_visible(self._kernel, run_id)
        return await resume(self._kernel, run_id)

    async def retry(self, run_id: str) -> Run:
        """Let a failed, dead or blocked run continue from where it failed.

        Failed steps get new attempts. Steps that were undone are executed again. Children whose failure failed the run
        are retried with it.

        A failure that the body caught and survived stays recorded. If the body raised it again, the calls that the
        body made because of it, such as a notice, are made again when it fails again. The history keeps a trace of the
        retry.

        Args:
            run_id: Id of the run.

        Returns:
            The run as it is now: pending.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run is alive, completed or cancelled. Nothing was changed.
        """
        await require_visible(self._kernel, run_id)
        return await requeue(self._kernel, run_id)

    async def retry_with_input(self, run_id: str, input: Any = NO_INPUT, /) -> Run:
        """Do the work of an ended run again with another input, as a new run `<id>~retry~<8 characters>`.

        The new run has the same version, tags, attributes, priority and namespace. A parent that waits for the ended
        run, or is itself retried, takes the new run's success as the result.

        Args:
            run_id: Id of the ended run.
            input: Input of the new run. Leave it out for a workflow without input.

        Returns:
            The new run.

        Raises:
            RunNotFoundError: no run has this id.
            RunStateError: the run, or the run that it continued as, is alive.
            InputValidationError: the input does not fit the workflow's type, or the new id would be too long.
            WorkflowNotRegisteredError: the module does not have the run's workflow in its version.
            SingletonQueueFullError: too many runs of the input's singleton key are alive.
        """
        await require_visible(self._kernel, run_id)
        return await retry_with_input(self._kernel, run_id, input, given=input is not NO_INPUT)

    async def fork(self, run_id: str, *, from_step: int) -> Run:
        """Start a new run with a copy of this run's history before a position.

        The old run stays as it is, whatever its status. Steps that were undone are not copied.

        Args:
            run_id: Id of the run to copy.
            from_step: First position that the new run executes itself. 0 copies nothing.

        Returns:
            The new run, `<id>~fork~<8 characters>`.

        Raises:
            RunNotFoundError: no run has this id.
            InputValidationError: `from_step` is not a position of the body itself, or the new id would be too long.
            SingletonQueueFullError: too many runs of the input's singleton key are alive.
        """
        await require_visible(self._kernel, run_id)
        return await fork(self._kernel, run_id, from_step=from_step)

    async def delete_run(self, run_id: str, *, force: bool = False) -> int:
        """Delete a run and all its descendants, with everything that belongs to them.

        Each run is deleted in a transaction of its own, children before their parents. After a crash, repeat the call.

        Args:
            run_id: Id of the run.
            force: Whether to cancel live runs first.

        Returns:
            How many runs were deleted. 0 if no run has this id.

        Raises:
            RunStateError: the run or a descendant is alive, and `force` is not set. Nothing was deleted.
        """
        try:
            await require_visible(self._kernel, run_id)
        except RunNotFoundError:
            return 0
        return await delete_run(self._kernel, run_id, force=force)
