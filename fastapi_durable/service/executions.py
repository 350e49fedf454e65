"""Starting a run and waiting for its output, in one call."""

from collections.abc import Callable
from typing import Any, Unpack, overload

from fastapi_durable.engine.context.references import WorkflowOf, WorkflowReturning
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.duration import Duration
from fastapi_durable.service.starts import Input, Output, StartOptions, Starts


class ExecuteOptions(StartOptions, total=False):
    """What `execute` takes: also how long to wait for the result; None: for ever."""

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
        """Start a run and wait for its output. The run goes on if the caller stops waiting.

        Raises:
            RunFailedError, RunCancelledError, RunDeadError: the run ended without an output.
            ResultTimeoutError: it has not ended after `timeout`.
            InputValidationError, RunIdTakenError, RunExistsError, WorkflowNotRegisteredError,
                StoreUnavailableError: as `start`.
        """
        timeout = options.pop("timeout", None)
        definition, run = self._new_run(workflow, input, options)
        return await (await self._started(definition, run, options)).result(timeout)
