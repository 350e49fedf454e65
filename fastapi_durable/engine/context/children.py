"""`ctx.child`, `ctx.start_child` and `ctx.all`."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from fastapi_durable.engine.context.base import NO_VALUE, ContextPart
from fastapi_durable.engine.context.references import WorkflowOf, WorkflowReturning
from fastapi_durable.engine.primitives.child import Child, SpawnedChild
from fastapi_durable.engine.primitives.child_run import ChildRequest
from fastapi_durable.engine.primitives.children import Bounds, run_children, run_children_fail_fast
from fastapi_durable.engine.runs.create import callers_workflow
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.start_validation import checked_priority, refuse_unknown
from fastapi_durable.model.errors import ChildFailedError, DefinitionError
from fastapi_durable.model.run_ids import checked_run_id, derived_run_id
from fastapi_durable.model.text import shown

Input = TypeVar("Input")
Output = TypeVar("Output")

_SHORTER = "Give the child a run_id of its own, or continue with ctx.continue_as_new."


class ChildOptions(TypedDict, total=False):
    """Options of `ctx.child` and `ctx.start_child`.

    Attributes:
        run_id: Id of the child. Default: `<run>.child.<position>`. If a run of this id exists, the call joins it.
        version: Version of the workflow. Default: the function's own, or the newest version of a name.
        priority: Default: the parent's priority.
        queue: Name of the declared `Queue` in which the child waits for a slot. Default: none, whatever queue its
            parent is in.
        fairness_key: Runs of one key take turns with those of other keys in the queue.
    """

    run_id: str | None
    version: str | None
    priority: int | None
    queue: str | None
    fairness_key: str | None


class ChildCalls(ContextPart):
    """The part of the context that starts other runs."""

    @overload
    def child(
        self, workflow: WorkflowOf[Input, Output], input: Input, /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def child(
        self, workflow: WorkflowReturning[Output], /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def child(
        self, workflow: str, input: Any = ..., /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, Any]: ...
    def child(
        self, workflow: Callable[..., Any] | str, input: Any = NO_VALUE, /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, Any]:
        """Start a child run, and wait for its result. The child has its parent's namespace.

        Args:
            workflow: The decorated function or class, or a registered name.
            input: Input of the child. Leave it out for a workflow without input.
            options: See `ChildOptions`.

        Returns:
            The output of the child.

        Raises:
            ChildFailedError: the child failed, was cancelled, timed out or died.
            InputValidationError: the input does not fit the child's type, or an option is invalid.
            RunIdTakenError: a run of another workflow or namespace has this id.
            WorkflowNotRegisteredError: the module does not have the workflow.
        """
        position = self._take()
        request = self._request(workflow, input, f"{self._run_id}.child.{position}", options, (position,))
        return Child(self._turn, position, request).perform()

    @overload
    def start_child(
        self, workflow: WorkflowOf[Input, Any], input: Input, /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, str]: ...
    @overload
    def start_child(
        self, workflow: WorkflowReturning[Any], /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, str]: ...
    @overload
    def start_child(
        self, workflow: str, input: Any = ..., /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, str]: ...
    def start_child(
        self, workflow: Callable[..., Any] | str, input: Any = NO_VALUE, /, **options: Unpack[ChildOptions]
    ) -> Coroutine[Any, Any, str]:
        """Start a child run, and continue at once. A later `ctx.child` with the same `run_id` waits for it.

        Args:
            workflow: The decorated function or class, or a registered name.
            input: Input of the child. Leave it out for a workflow without input.
            options: See `ChildOptions`.

        Returns:
            The id of the child.

        Raises:
            InputValidationError: as `child`.
            RunIdTakenError: as `child`.
            WorkflowNotRegisteredError: as `child`.
        """
        position = self._take()
        request = self._request(workflow, input, f"{self._run_id}.child.{position}", options, (position,))
        return SpawnedChild(self._turn, position, request).perform()

    @overload
    def all(
        self,
        workflow: WorkflowOf[Input, Output],
        inputs: Sequence[Input],
        /,
        *,
        mode: Literal["wait_all", "fail_fast"] = "wait_all",
        concurrency: int | None = None,
        queue: str | None = None,
        fairness_key: str | None = None,
    ) -> Coroutine[Any, Any, list[Output]]: ...
    @overload
    def all(
        self,
        workflow: WorkflowOf[Input, Output],
        inputs: Sequence[Input],
        /,
        *,
        tolerate: int,
        mode: Literal["wait_all", "fail_fast"] = "wait_all",
        concurrency: int | None = None,
        queue: str | None = None,
        fairness_key: str | None = None,
    ) -> Coroutine[Any, Any, list[Output | ChildFailedError]]: ...
    @overload
    def all(
        self,
        workflow: str,
        inputs: Sequence[Any],
        /,
        *,
        tolerate: int = 0,
        mode: Literal["wait_all", "fail_fast"] = "wait_all",
        concurrency: int | None = None,
        queue: str | None = None,
        fairness_key: str | None = None,
    ) -> Coroutine[Any, Any, list[Any]]: ...
    def all(
        self,
        workflow: Callable[..., Any] | str,
        inputs: Sequence[Any],
        /,
        *,
        tolerate: int = 0,
        mode: Literal["wait_all", "fail_fast"] = "wait_all",
        concurrency: int | None = None,
        queue: str | None = None,
        fairness_key: str | None = None,
    ) -> Coroutine[Any, Any, list[Any]]:
        """Run one child for each input at the same time, and wait for all of them.

        A call takes a position for each input, and one more with `fail_fast`.

        Args:
            workflow: The decorated function or class, or a registered name.
            inputs: Inputs, one for each child.
            tolerate: How many children may fail without an error of the call.
            mode: `wait_all` waits for every child. `fail_fast` cancels the others at the first failure that is not
                tolerated, and starts no more.
            concurrency: How many children of this call live at a time. The next one starts when one ends, in the order
                of the inputs. None: no limit. It may be changed while the run is in progress.
            queue: Queue of each child. Its `concurrency` bounds how many runs of all parents run at a time.
            fairness_key: Fairness key of each child.

        Returns:
            The outputs, in the order of the inputs. In the place of a child whose failure is tolerated stands its
            `ChildFailedError`.

        Raises:
            GatherError: more children failed than are tolerated. Its `failures` hold a `ChildFailedError` for each of
                them.
            InputValidationError: an input does not fit the child's type. No child was started.
            DefinitionError: `mode`, `tolerate` or `concurrency` is invalid.
        """
        if mode not in ("wait_all", "fail_fast"):
            raise DefinitionError(f"mode must be 'wait_all' or 'fail_fast', got {shown(mode)}")
        if type(tolerate) is not int or tolerate < 0:
            raise DefinitionError(f"tolerate must be a whole number from 0, got {shown(tolerate)}")
        if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
            raise DefinitionError(f"concurrency must be a whole number from 1, or None, got {shown(concurrency)}")
        inputs = list(inputs)
        positions = [self._take() for _ in inputs]
        group = f"all:{positions[0]}" if positions else None
        options: ChildOptions = {"queue": queue, "fairness_key": fairness_key}
        requests = [
            self._request(workflow, input, f"{self._run_id}.all.{positions[0]}.{index}", options, positions, group)
            for index, input in enumerate(inputs)
        ]
        bounds = Bounds(tolerate=tolerate, concurrency=concurrency)
        if mode == "fail_fast":
            return run_children_fail_fast(self._turn, positions, self._take(), requests, bounds)
        return run_children(self._turn, positions, requests, bounds)

    @property
    def _run_id(self) -> str:
        return self._turn.run.id

    def _request(
        self,
        workflow: Callable[..., Any] | str,
        input: Any,
        default_id: str,
        options: ChildOptions,
        positions: Sequence[int],
        parallel_group: str | None = None,
    ) -> ChildRequest:
        refuse_unknown("child", options, ChildOptions)
        kernel, run_id = self._turn.kernel, options.get("run_id")
        if run_id is None:
            child_id = derived_run_id(default_id, f"a child of {self._run_id[:80]!r}", _SHORTER)
        else:
            child_id = checked_run_id(run_id, inside=self._run_id)
        version = options.get("version")
        definition = self._registered(lambda: callers_workflow(kernel, workflow, version), *positions)
        return ChildRequest(
            run_id=child_id,
            definition=definition,
            input=encode_input(kernel.codec, definition, input, given=input is not NO_VALUE),
            priority=checked_priority(options.get("priority")),
            queue=options.get("queue"),
            fairness_key=options.get("fairness_key"),
            parallel_group=parallel_group,
        )
