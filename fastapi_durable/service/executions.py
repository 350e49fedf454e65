"""Starting a run and waiting for its output, in one call."""

from collections.abc import Callable
from typing import Any, Unpack, overload

from fastapi_durable.engine.context.references import WorkflowOf, WorkflowReturning
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.duration import Duration
from fastapi_durable.service.starts import Input, Output, StartOptions, Starts


class ExecuteOptions(StartOptions, total=False):
    """Options of `service.execute`.

    Attributes:
        timeout: How long to wait for the result. Default: no limit.
    """

    timeout: Duration | None


class Executions(Starts):
    """The part of the façade that starts runs and waits for them."""

    @overload
    async def execute(
        self, workflow: WorkflowOf[Input, Output], input: Input, /, **options: Unpack[ExecuteOptions]
    ) -> Output: ...
    @overload
    async def execute(self, workflow: WorkflowReturning[Output], /, **options: Unpack[ExecuteOptions]) -> Output: ...
    @overload
    async def execute(self, workflow: str, input: Any = ..., /, **options: Unpack[ExecuteOptions]) -> Any: ...
    async def execute(
        self, workflow: Callable[..., Any] | str, input: Any = NO_INPUT, /, **options: Unpack[ExecuteOptions]
    ) -> Any:
        """Start a run and wait for its output. The run continues if the caller stops waiting.

        Args:
            workflow: The decorated function or class, or a registered name.
            input: Input of the run. Leave it out for a workflow without input.
            options: See `ExecuteOptions` and `StartOptions`.

        Returns:
            The output of the run.

        Raises:
            RunFailedError: the run failed.
            RunCancelledError: the run was cancelled.
            RunDeadError: the run is dead.
            ResultTimeoutError: the run has not ended after `timeout`.
            NoWorkerError: no live worker can drive the run; see `no_worker_after`. It stays, and a worker that starts
                drives it.
            InputValidationError: as `start`.
            RunIdTakenError: as `start`.
            RunExistsError: as `start`.
            WorkflowNotRegisteredError: as `start`.
            SingletonQueueFullError: as `start`.
            StoreUnavailableError: as `start`.
        """
        timeout = options.pop("timeout", None)
        definition, run = self._new_run(workflow, input, options)
        return await (await self._started(definition, run, options)).result(timeout)
