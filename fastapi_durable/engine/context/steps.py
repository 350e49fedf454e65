"""`ctx.step`, `ctx.local_step` and `ctx.transaction`."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, TypedDict, TypeVar, Unpack, overload

from fastapi_durable.declare.definition import StepDefinition, StepPolicy, step_definition
from fastapi_durable.declare.retry import Backoff, ErrorFilter
from fastapi_durable.engine.context.base import NO_VALUE, ContextPart, checked_definition, given
from fastapi_durable.engine.primitives.compensation import CompensatedStep
from fastapi_durable.engine.primitives.local_step import Here
from fastapi_durable.engine.primitives.step import Step
from fastapi_durable.engine.primitives.transaction import Transaction
from fastapi_durable.engine.runs.input import as_declared
from fastapi_durable.engine.runs.start_validation import refuse_unknown
from fastapi_durable.model.duration import Duration, parse_duration

Input = TypeVar("Input")
Output = TypeVar("Output")


class AttemptOptions(TypedDict, total=False):
    """Options of every call that makes attempts; each overrides what `@step` declares.

    Attributes:
        max_attempts: Maximum number of attempts, the first one included.
        backoff: Wait between attempts.
        timeout: Limit of one attempt.
        retry_on: Errors after which another attempt is made: a class, a tuple of classes, or `(Exception) -> bool`.
        give_up_on: Errors that end the attempts, in the same forms. It goes before `retry_on`.
    """

    max_attempts: int | None
    backoff: Backoff | None
    timeout: Duration | None
    retry_on: ErrorFilter | None
    give_up_on: ErrorFilter | None


class TransactionOptions(AttemptOptions, total=False):
    """Options of `ctx.transaction`.

    Attributes:
        name: Name to record in place of the declared one.
    """

    name: str | None


class LocalStepOptions(AttemptOptions, total=False):
    """Options of `ctx.local_step`.

    Attributes:
        compensate: Step that undoes this one if the run fails later, or is cancelled with `compensate=True`. It is a
            function or the name of one of the module's `steps=[...]`, and takes an `Undo[Input, Output]` or nothing.
    """

    compensate: Callable[..., Any] | str | None


class StepOptions(LocalStepOptions, TransactionOptions, total=False):
    """Options of `ctx.step`."""


class StepCalls(ContextPart):
    """The part of the context that does work."""

    @overload
    def step(
        self,
        function: Callable[Concatenate[Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self, function: Callable[Concatenate[Input, ...], Output], input: Input, /, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self,
        function: Callable[Concatenate[Any, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self, function: Callable[Concatenate[Any, Input, ...], Output], input: Input, /, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self, function: Callable[..., Coroutine[Any, Any, Output]], /, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(
        self, function: Callable[..., Output], /, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def step(self, function: str, input: Any = ..., /, **options: Unpack[StepOptions]) -> Coroutine[Any, Any, Any]: ...
    def step(
        self, function: Callable[..., Any] | str, input: Any = NO_VALUE, /, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Any]:
        """Execute a function as a step, and record its result.

        A step is executed at least once: a crash in the middle repeats it. Once its result is recorded, a replay
        returns the record and does not call the function.

        Args:
            function: `async def`, or `def`, which runs in a thread. It has one input or none, and its keyword-only
                parameters are injected. A bound method works the same. For `Class.method`, injection makes the
                instance; the class is the workflow's or one of the module's `steps=[...]`. Instead of a function, the
                name of one of those steps.
            input: Input of the step. Leave it out for a step without input. For a name, its JSON form works too.
            options: See `StepOptions`.

        Returns:
            What the function returns.

        Raises:
            StepFailedError: all attempts failed, or one raised `FatalError`. A replay raises the same error from the
                record.
            SerializationError: the input has no JSON form.
            StepNotRegisteredError: no registered step has this name.
        """
        if options:
            refuse_unknown("step", options, StepOptions)
        if isinstance(function, str):
            wanted = function
            recorded_as = options.get("name") or wanted
            declared = self._registered(lambda: self._turn.kernel.steps.get(wanted), name=recorded_as)
            if input is not NO_VALUE:
                input = as_declared(self._turn.kernel.codec, declared, input)
        else:
            declared = self._turn.kernel.steps.resolve(function)
        if not options:
            # Most calls, of which a replay consists.
            definition = checked_definition(declared, None, input)
            value = given(definition, input)
            return Step(self._turn, self._turn.take_position(), definition, definition.policy, value).perform()
        definition = checked_definition(declared, options.get("name"), input)
        policy, compensate = _policy(definition, options), options.get("compensate")
        position = self._take()
        if compensate is None:
            return Step(self._turn, position, definition, policy, given(definition, input)).perform()
        undo = self._registered(lambda: self._turn.kernel.steps.resolve(compensate), position)
        return CompensatedStep(self._turn, position, definition, policy, given(definition, input), undo).perform()

    @overload
    def local_step(
        self, name: str, function: Callable[[], Coroutine[Any, Any, Output]], /, **options: Unpack[LocalStepOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def local_step(
        self, name: str, function: Callable[[], Output], /, **options: Unpack[LocalStepOptions]
    ) -> Coroutine[Any, Any, Output]: ...
    def local_step(
        self, name: str, function: Callable[[], Any], /, **options: Unpack[LocalStepOptions]
    ) -> Coroutine[Any, Any, Any]:
        """Execute a closure of the body as a step, always in this process, whatever the transport.

        The closure must not change what it takes from the body, because a replay does not call it. Its return
        annotation is the type of the result. Without one, the result is a plain JSON value.

        Args:
            name: Name to record.
            function: Closure without parameters, `def` or `async def`.
            options: See `LocalStepOptions`.

        Returns:
            What the closure returns.

        Raises:
            StepFailedError: as `step`.
            DefinitionError: the function takes an input.
        """
        refuse_unknown("local_step", options, LocalStepOptions)
        definition = checked_definition(step_definition(function), name, NO_VALUE)
        policy, compensate = _policy(definition, options), options.get("compensate")
        if compensate is None:
            return Step(self._turn, self._take(), definition, policy, given(definition, NO_VALUE), Here()).perform()
        undo = self._registered(lambda: self._turn.kernel.steps.resolve(compensate), name=name)
        position, value = self._take(), given(definition, NO_VALUE)
        return CompensatedStep(self._turn, position, definition, policy, value, undo, Here()).perform()

    @overload
    def transaction(
        self,
        function: Callable[Concatenate[Any, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        **options: Unpack[TransactionOptions],
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def transaction(
        self,
        function: Callable[Concatenate[Any, ...], Coroutine[Any, Any, Output]],
        /,
        **options: Unpack[TransactionOptions],
    ) -> Coroutine[Any, Any, Output]: ...
    def transaction(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        input: Any = NO_VALUE,
        /,
        **options: Unpack[TransactionOptions],
    ) -> Coroutine[Any, Any, Any]:
        """Execute `async def (tx, input)` in a database transaction that also holds its checkpoint.

        What the function writes through `tx` takes effect exactly once, however often the process dies. Do nothing
        else in it: no other client, no call to another service, and nothing slow, because SQLite has one writer.

        Args:
            function: Function whose first parameter is the Prisma client bound to the transaction.
            input: Input of the function. Leave it out for a function without input.
            options: See `TransactionOptions`. Default of `timeout`: the option `transaction_timeout` of the module.

        Returns:
            What the function returns.

        Raises:
            StepFailedError: the function raised. Everything it wrote was rolled back.
        """
        refuse_unknown("transaction", options, TransactionOptions)
        declared = step_definition(function, leading=("tx",))
        definition, timeout = checked_definition(declared, options.get("name"), input), options.get("timeout")
        limit = self._turn.kernel.config.transaction_timeout if timeout is None else parse_duration(timeout)
        policy = _policy(definition, options)
        position = self._take()
        return Transaction(self._turn, position, definition, policy, given(definition, input), limit).perform()


def _policy(definition: StepDefinition, options: AttemptOptions) -> StepPolicy:
    if not options:
        return definition.policy
    return definition.policy.override(
        max_attempts=options.get("max_attempts"),
        backoff=options.get("backoff"),
        timeout=options.get("timeout"),
        retry_on=options.get("retry_on"),
        give_up_on=options.get("give_up_on"),
    )
