"""Durable background tasks: a step called from a route, which outlives the process that asked for it."""

from collections.abc import Callable, Collection, Coroutine
from datetime import datetime
from typing import Any, Concatenate, Literal, TypedDict, TypeVar, Unpack, overload

from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.runs.start_validation import refuse_unknown
from fastapi_durable.engine.starting.background_task import task_workflow
from fastapi_durable.model.duration import Duration
from fastapi_durable.model.reserved import checked_text, scoped
from fastapi_durable.service.starts import Starts
from fastapi_durable.service.transactions import WorkflowTransaction

Input = TypeVar("Input")
Output = TypeVar("Output")


class TaskOptions(TypedDict, total=False):
    """Options of `tasks.add`.

    Attributes:
        delay: How long the task waits before it is executed.
        at: The moment from which the task is executed, instead of `delay`.
        tags: As of a run; see `SharedStartOptions`.
        priority: As of a run; see `SharedStartOptions`.
        queue: As of a run; see `SharedStartOptions`.
        fairness_key: As of a run; see `SharedStartOptions`.
        if_exists: What to do if the key was used: "return" that task, which is the default, or "refuse" the call.
    """

    delay: Duration | None
    at: datetime | None
    tags: Collection[str]
    priority: int | None
    queue: str | None
    fairness_key: str | None
    if_exists: Literal["return", "refuse"]


class DurableTasks:
    """Adds background tasks. Inject it as `DurableTasksDep`.

    A task is a run of the workflow `<step>.task`, which calls the step with its dependencies, retries and timeout. The
    step must be in the module's `steps=[...]`, so that workers know it.
    """

    def __init__(self, starts: Starts) -> None:
        self._starts = starts

    def within(self, tx: WorkflowTransaction[Any]) -> "DurableTasks":
        """Return an adder whose tasks exist once an open transaction commits.

        Args:
            tx: The open transaction.

        Returns:
            An object with the same methods.
        """
        return DurableTasks(tx)

    @overload
    async def add(
        self,
        step: Callable[Concatenate[Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> RunHandle[Output]: ...
    @overload
    async def add(
        self,
        step: Callable[Concatenate[Input, ...], Output],
        input: Input,
        /,
        *,
        key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> RunHandle[Output]: ...
    @overload
    async def add(
        self,
        step: Callable[Concatenate[Any, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> RunHandle[Output]: ...
    @overload
    async def add(
        self,
        step: Callable[Concatenate[Any, Input, ...], Output],
        input: Input,
        /,
        *,
        key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> RunHandle[Output]: ...
    @overload
    async def add(
        self,
        step: Callable[..., Coroutine[Any, Any, Output]],
        /,
        *,
        key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> RunHandle[Output]: ...
    @overload
    async def add(
        self, step: Callable[..., Output], /, *, key: str | None = None, **options: Unpack[TaskOptions]
    ) -> RunHandle[Output]: ...
    @overload
    async def add(
        self, step: str, input: Any = ..., /, *, key: str | None = None, **options: Unpack[TaskOptions]
    ) -> RunHandle[Any]: ...
    async def add(
        self,
        step: Callable[..., Any] | str,
        input: Any = NO_INPUT,
        /,
        *,
        key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> RunHandle[Any]:
        """Add a step as a background task. When this method returns, the task survives any crash.

        Args:
            step: A function or method that is decorated with `@step`, or its name.
            input: Input of the step, checked against its type here. Leave it out for a step without input.
            key: Name of the task among those of its step and namespace. It makes the call idempotent: nothing is added
                under a key that was used.
            options: See `TaskOptions`.

        Returns:
            A handle to the task. Its id is `run_id`, `created` is False if the key was used before, and `result()`
            waits for what the step returns.

        Raises:
            StepNotRegisteredError: the step is not in the module's `steps=[...]`.
            InputValidationError: the input does not fit the step, or an option is invalid.
            RunExistsError: the key was used, and `if_exists` is "refuse".
            TooManyDelayedStartsError: too many runs and tasks wait for their `delay` or `at`.
            StoreUnavailableError: the database cannot be reached. With a `key`, you can repeat the call.
        """
        refuse_unknown("add", options, TaskOptions)
        workflow = self._workflow_of(step)
        run_id = None if key is None else self._id_of(workflow, key)
        return await self._starts.start(workflow, input, run_id=run_id, **options)

    @overload
    def handle(self, step: Callable[..., Coroutine[Any, Any, Output]], /, *, key: str) -> RunHandle[Output]: ...
    @overload
    def handle(self, step: Callable[..., Output], /, *, key: str) -> RunHandle[Output]: ...
    @overload
    def handle(self, step: str, /, *, key: str) -> RunHandle[Any]: ...
    def handle(self, step: Callable[..., Any] | str, /, *, key: str) -> RunHandle[Any]:
        """Return a handle to the task that was added under a key. The method does not look the task up.

        Args:
            step: A function or method that is decorated with `@step`, or its name.
            key: Key of the task.

        Returns:
            A handle.

        Raises:
            StepNotRegisteredError: the step is not in the module's `steps=[...]`.
            InputValidationError: the key cannot be stored.
        """
        workflow = self._workflow_of(step)
        return self._starts.handle(self._id_of(workflow, key), workflow)

    def _workflow_of(self, step: Callable[..., Any] | str) -> str:
        return task_workflow(self._starts._kernel.steps, step)

    def _id_of(self, workflow: str, key: str) -> str:
        # With the namespace, as tenants choose keys without regard to each other.
        namespace = namespace_of(self._starts._kernel.config)
        return scoped(namespace, f"{workflow}:{checked_text('key', key)}")
