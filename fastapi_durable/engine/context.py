"""`WorkflowContext`: what a workflow's body can ask for. Every call takes its position at once, in call order."""

import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.clock import truncate
from fastapi_durable.definition import NoInput, StepDefinition, checked_name, step_definition
from fastapi_durable.duration import Duration, parse_duration
from fastapi_durable.engine.recorded_value import record_value
from fastapi_durable.engine.signal import checked_token, wait_for_signal
from fastapi_durable.engine.sleep import sleep_until
from fastapi_durable.engine.step import run_step
from fastapi_durable.engine.transaction import run_transaction
from fastapi_durable.engine.turn import Turn
from fastapi_durable.errors import DefinitionError
from fastapi_durable.retry import Backoff

Input = TypeVar("Input")
Output = TypeVar("Output")
T = TypeVar("T")


class _NoValue:
    """Stands for an argument that was not given."""


_NO_VALUE = _NoValue()


class WorkflowContext:
    """The durable side of one run; the engine passes it to the workflow's body.

    Await each call where it stands, or several of them together with `asyncio.gather`.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @property
    def run_id(self) -> str:
        return self._turn.run.id

    @property
    def workflow(self) -> str:
        return self._turn.run.workflow

    @property
    def workflow_version(self) -> str:
        return self._turn.run.workflow_version

    @property
    def namespace(self) -> str:
        return self._turn.run.namespace

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
    ) -> Coroutine[Any, Any, Output]: ...
    def step(
        self,
        function: Callable[..., Any],
        input: Any = _NO_VALUE,
        /,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a function once and record its result. It runs at least once: a crash in the middle repeats it.

        Args:
            function: `async def` or `def` (run in a thread), with one input or none; keyword-only parameters are
                injected.
            name: What is recorded instead of the declared name.
            max_attempts, backoff, timeout: Override what `@step` declares.

        Raises:
            StepFailedError: all attempts failed, or one failed with `FatalError`. On a replay the same error is
                raised from the record; the function is not called again.
            SerializationError: the input has no JSON form.
        """
        definition = self._definition(step_definition(function), name, input)
        policy = definition.policy.override(max_attempts=max_attempts, backoff=backoff, timeout=timeout)
        return run_step(self._turn, self._turn.take_position(), definition, policy, _value(input))

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
        input: Any = _NO_VALUE,
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
        definition = self._definition(step_definition(function, leading=("tx",)), name, input)
        policy = definition.policy.override(max_attempts=max_attempts, backoff=backoff)
        limit = self._turn.services.config.transaction_timeout if timeout is None else parse_duration(timeout)
        position = self._turn.take_position()
        return run_transaction(self._turn, position, definition, policy, _value(input), timeout=limit)

    def sleep(self, duration: Duration) -> Coroutine[Any, Any, None]:
        """Wait; the deadline is recorded, and the run occupies nothing meanwhile.

        Raises:
            ValueError: `duration` is not a duration.
        """
        deadline = self._turn.services.clock.now() + parse_duration(duration)
        return sleep_until(self._turn, self._turn.take_position(), deadline)

    def sleep_until(self, moment: datetime) -> Coroutine[Any, Any, None]:
        """Wait until a moment; on a replay the one of the first run counts.

        Raises:
            ValueError: `moment` has no time zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone; pass an aware datetime, such as `await ctx.now() + ...`")
        return sleep_until(self._turn, self._turn.take_position(), truncate(moment))

    @overload
    def wait_for_signal(
        self, token: str, type: type[T], /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def wait_for_signal(self, token: str, /, *, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    def wait_for_signal(
        self, token: str, type: Any = Any, /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Wait for a signal, and return its payload as `type`. One that came before counts, the oldest first.

        A wait with a timeout takes two positions, one without takes one: adding or removing a timeout is a change of
        the workflow's version.

        Raises:
            SignalTimeoutError: no signal before the timeout; what comes later is kept for a later wait.
            SignalTokenTakenError: another live run waits for this token.
            SerializationError: the payload is not a `type`, or the token cannot be stored.
        """
        checked_token(token)
        limit = None if timeout is None else parse_duration(timeout)
        deadline_position = None if limit is None else self._turn.take_position()
        return wait_for_signal(self._turn, deadline_position, self._turn.take_position(), token, type, limit)

    def now(self) -> Coroutine[Any, Any, datetime]:
        """The current time (aware, UTC, milliseconds), the same on every replay."""
        return record_value(self._turn, self._turn.take_position(), "now", datetime, self._turn.services.clock.now)

    def uuid(self) -> Coroutine[Any, Any, uuid.UUID]:
        """A random UUID, the same on every replay; it cannot be guessed."""
        return record_value(self._turn, self._turn.take_position(), "uuid", uuid.UUID, uuid.uuid4)

    def random(self) -> Coroutine[Any, Any, float]:
        """A random float in [0, 1), the same on every replay."""
        return record_value(self._turn, self._turn.take_position(), "random", float, random.random)

    def side_effect(
        self, take: Callable[[], Awaitable[T] | T], type: type[T] | None = None, /
    ) -> Coroutine[Any, Any, T]:
        """What `take` returns on the first run, recorded; for reading something that changes, such as a flag.

        Unlike a step it is not retried, has no timeout and is not shown while it runs.

        Raises:
            StepFailedError: `take` raised, or its value has no JSON form; the same error on every replay.
        """
        declared: Any = Any if type is None else type
        return record_value(self._turn, self._turn.take_position(), "sideEffect", declared, take)

    def _definition(self, definition: StepDefinition, name: str | None, input: Any) -> StepDefinition:
        if (definition.input_type is NoInput) != (input is _NO_VALUE):
            takes = "takes no input" if definition.input_type is NoInput else "takes an input"
            raise DefinitionError(f"{definition.name!r} {takes}; call it accordingly")
        return definition if name is None else replace(definition, name=checked_name(name))


def _value(input: Any) -> Any:
    return None if input is _NO_VALUE else input
