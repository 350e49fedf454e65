"""`ctx.on_update`, `ctx.set_value`, `ctx.breakpoint` and `ctx.task`: what a run and the people around it say."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

from fastapi_durable.declare.definition import StepDefinition
from fastapi_durable.declare.names import checked_name, checked_part
from fastapi_durable.declare.retry import Backoff
from fastapi_durable.engine.context.base import ContextPart
from fastapi_durable.engine.primitives.breakpoint import Breakpoint
from fastapi_durable.engine.primitives.run_event import ShownValue
from fastapi_durable.engine.primitives.task import Task, TaskTicket
from fastapi_durable.engine.primitives.update import Answer, ReceivedUpdate, Update, update_token
from fastapi_durable.engine.runs.completion import completion
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.records import Json, RunStatus

T = TypeVar("T")
R = TypeVar("R")


class DialogueCalls(ContextPart):
    """The part of the context that callers and operators answer."""

    @overload
    def on_update(self, name: str, type: type[T], /, *, timeout: Duration | None = None) -> Coroutine[Any, Any, T]: ...
    @overload
    def on_update(self, name: str, /, *, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    @overload
    def on_update(
        self, name: str, type: type[T], /, *, answer: Callable[[T], Awaitable[R]], timeout: Duration | None = None
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def on_update(
        self, name: str, type: type[T], /, *, answer: Callable[[T], R], timeout: Duration | None = None
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def on_update(
        self, name: str, /, *, answer: Callable[[Any], Any], timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]: ...
    def on_update(
        self,
        name: str,
        type: Any = Any,
        /,
        *,
        answer: Callable[[Any], Any] | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Wait for `service.update(run_id, name, value)`. Accepted updates are kept in order.

        A call takes one position, and two with a timeout. It takes one more behind those of `answer`, if the sender
        waits for the answer. Declare a validator with `@workflow(updates={...})`.

        Args:
            name: Name of the update.
            type: Type of the value. Default: the plain JSON value.
            answer: Function of the value, asynchronous or not. A sender who waits receives what it returns, or its
                error. It is part of the body: it may use `ctx`, and a replay calls it again.
            timeout: How long to wait for the update. None: no limit.

        Returns:
            What `answer` returned. Without `answer`, the value as `type`.

        Raises:
            SignalTimeoutError: no update came before the timeout.
            SerializationError: the value does not fit `type`, or the answer has no JSON form.
            Exception: an error of `answer`, which the sender received.
        """
        token = update_token(self._turn.run.id, checked_part("name of an update", name))
        limit = None if timeout is None else parse_duration(timeout)
        deadline_position = None if limit is None else self._take()
        update = Update(self._turn, self._take(), token, type, deadline_position, limit, tells_type=True)
        return self._answered(update, name, answer)

    async def _answered(self, update: Update, name: str, function: Callable[[Any], Any] | None) -> Any:
        received: ReceivedUpdate = await update.perform()
        if function is None:
            return received.value
        try:
            answer = function(received.value)
            if inspect.isawaitable(answer):
                answer = await answer
            output = self._turn.kernel.codec.encode(answer, Any, what=f"the answer to update {name!r}")
        except Exception as error:
            # The sender hears of it first: the body may fail because of it.
            await self._answer(received, completion(RunStatus.FAILED, None, error_record(error)))
            raise
        await self._answer(received, completion(RunStatus.COMPLETED, output, None))
        return answer

    async def _answer(self, received: ReceivedUpdate, output: Json) -> None:
        # Whether the sender waits stands in the history, so each replay takes the same positions.
        if received.id is not None:
            await Answer(self._turn, self._take(), received.id, output).perform()

    def set_value(self, key: str, value: Any, /) -> Coroutine[Any, Any, None]:
        """Publish a value, which callers read with `service.get_value(run_id, key)`.

        The last value of a key counts. Every value stays in the history, so report progress every few percent, not for
        every row. A call takes one position.

        Args:
            key: Key of the value.
            value: Any value that pydantic serialises.

        Raises:
            SerializationError: the value has no JSON form.
        """
        return ShownValue(self._turn, self._take(), checked_name(key), value).perform()

    def breakpoint(self, label: str | None = None, /) -> Coroutine[Any, Any, None]:
        """Stop until an operator calls `service.continue_run(run_id)`. A call takes one position.

        Args:
            label: Label by which the operator tells breakpoints apart.
        """
        checked = None if label is None else checked_name(label)
        return Breakpoint(self._turn, self._take(), checked).perform()

    @overload
    def task(
        self,
        name: str,
        dispatch: Callable[[TaskTicket], Any],
        type: type[T],
        /,
        *,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def task(
        self,
        name: str,
        dispatch: Callable[[TaskTicket], Any],
        /,
        *,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def task(
        self,
        name: str,
        dispatch: Callable[..., Any],
        type: Any = Any,
        /,
        *,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Hand work to another system, and wait for its result: `service.complete_task(run_id, name, value)`.

        A call takes two positions, and three with a timeout.

        Args:
            name: Name of the task, which a run uses once.
            dispatch: Step that takes the `TaskTicket` and hands out the work. It is executed at least once.
            type: Type of the result. Default: the plain JSON value.
            timeout: How long to wait for the result, from the start of the wait. None: no limit.
            max_attempts: Maximum number of attempts of the dispatch, the first one included.
            backoff: Wait between attempts of the dispatch.

        Returns:
            The result as `type`.

        Raises:
            StepFailedError: the dispatch failed.
            TaskFailedError: `fail_task` was called.
            SignalTimeoutError: the end was not reported before the timeout.
            DefinitionError: the run has had a task of this name, or the dispatch does not take a `TaskTicket`.
        """
        definition: StepDefinition = self._turn.kernel.steps.resolve(dispatch)
        if definition.input_type not in (TaskTicket, Any):
            raise DefinitionError(
                f"the dispatch of a task must be a step that takes a TaskTicket, got {definition.name!r}"
            )
        if checked_part("name of a task", name) in self._turn.task_names:
            raise DefinitionError(
                f"the name of a task must be unique in its run, got {name!r} twice: a report of its end names only "
                "the run and the task"
            )
        limit = None if timeout is None else parse_duration(timeout)
        policy = definition.policy.override(max_attempts=max_attempts, backoff=backoff)
        dispatch_seq, deadline_seq = self._take(), None if limit is None else self._take()
        self._turn.task_names.add(name)
        return Task(
            self._turn, dispatch_seq, self._take(), name, definition, policy, type, deadline_seq, limit
        ).perform()
