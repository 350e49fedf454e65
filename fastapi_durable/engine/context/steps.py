"""`ctx.step`, `ctx.local_step` and `ctx.transaction`."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.definition import step_definition
from fastapi_durable.duration import Duration, parse_duration
from fastapi_durable.engine.compensation import run_compensated_step
from fastapi_durable.engine.context.base import NO_VALUE, ContextPart, checked_definition, given
from fastapi_durable.engine.input import as_declared
from fastapi_durable.engine.local_step import run_local_step
from fastapi_durable.engine.step import run_step
from fastapi_durable.engine.transaction import run_transaction
from fastapi_durable.retry import Backoff

Input = TypeVar("Input")
Output = TypeVar("Output")


class StepCalls(ContextPart):
    """The part of the context that does work."""

    @overload
    def step(
        self,
        function: Callable[Concatenate[Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self,
        function: Callable[Concatenate[Input, ...], Output],
        input: Input,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self,
        function: Callable[..., Coroutine[Any, Any, Output]],
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self,
        function: Callable[..., Output],
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self,
        function: str,
        input: Any = ...,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def step(
        self,
        function: Callable[..., Any] | str,
        input: Any = NO_VALUE,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a function once and record its result. It runs at least once: a crash in the middle repeats it.

        Args:
            function: `async def` or `def` (run in a thread), with one input or none; keyword-only parameters are
                injected. A method of an instance works the same. Or the name of one of the module's `steps=[...]`;
                then the input may be in its JSON form.
            name: What is recorded instead of the declared name.
            max_attempts, backoff, timeout: Override what `@step` declares.
            compensate: Undoes this step if the run fails later, or is cancelled with compensation. A step of its own,
                with its own retries; it takes an `Undo[Input, Output]`, or nothing.

        Raises:
            StepFailedError: all attempts failed, or one failed with `FatalError`. On a replay the same error is
                raised from the record; the function is not called again.
            SerializationError: the input has no JSON form.
            StepNotRegisteredError: no registered step has this name.
        """
        if isinstance(function, str):
            declared = self._turn.services.steps.get(function)
            input = as_declared(self._turn.services.codec, declared, input)
        else:
            declared = step_definition(function)
        definition = checked_definition(declared, name, input)
        policy = definition.policy.override(max_attempts=max_attempts, backoff=backoff, timeout=timeout)
        position = self._take()
        if compensate is None:
            return run_step(self._turn, position, definition, policy, given(input))
        return run_compensated_step(self._turn, position, definition, policy, given(input), step_definition(compensate))

    @overload
    def local_step(
        self,
        name: str,
        function: Callable[[], Coroutine[Any, Any, Output]],
        /,
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def local_step(
        self,
        name: str,
        function: Callable[[], Output],
        /,
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    def local_step(
        self,
        name: str,
        function: Callable[[], Any],
        /,
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a closure of the body as a step, always in this process, whatever the transport.

        What it takes from the body must not change it: on a replay the closure is not called. Its result has the type
        of its return annotation; without one, a replay and the first run see plain JSON values.

        Raises:
            StepFailedError: as `step`.
            DefinitionError: the function takes an input.
        """
        definition = checked_definition(step_definition(function), name, NO_VALUE)
        policy = definition.policy.override(max_attempts=max_attempts, backoff=backoff, timeout=timeout)
        undo = None if compensate is None else step_definition(compensate)
        return run_local_step(self._turn, self._take(), definition, policy, undo)

    @overload
    def transaction(
        self,
        function: Callable[Concatenate[Any, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def transaction(
        self,
        function: Callable[Concatenate[Any, ...], Coroutine[Any, Any, Output]],
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Output]: ...
    def transaction(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        input: Any = NO_VALUE,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run `async def (tx, input)` in a database transaction that also holds its checkpoint.

        What the body writes through `tx` takes effect exactly once, however often the process dies. Do nothing else
        in it: no other client, no call to the outside, and nothing slow, since SQLite has one writer.

        Args:
            function: Its first parameter is the Prisma client bound to the transaction.
            timeout: Limit of the body; by default the engine's `transaction_timeout`.

        Raises:
            StepFailedError: the body raised; everything it wrote was rolled back.
        """
        definition = checked_definition(step_definition(function, leading=("tx",)), name, input)
        policy = definition.policy.override(max_attempts=max_attempts, backoff=backoff)
        limit = self._turn.services.config.transaction_timeout if timeout is None else parse_duration(timeout)
        position = self._take()
        return run_transaction(self._turn, position, definition, policy, given(input), timeout=limit)
