"""Entities: one of the engine's own runs for each key, which executes operations one after the other.

`entity:<name>:<key>` is the id of the run and the token of its signals. One transaction sends an operation and records
the sending. Another one records the answer and delivers it. So an operation is executed once, however often its caller
is replayed. After many operations the run restarts in place, with its state and an empty history.
"""

from collections import deque
from functools import partial

from fastapi_durable.declare.definition import StepDefinition, WorkflowDefinition
from fastapi_durable.declare.entity import EntityDefinition
from fastapi_durable.engine.context.base import turn_of
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.entity_message import STATE, WORKFLOW, EntityLife, Message
from fastapi_durable.engine.primitives.executed import Executed
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.signal import Signal, signal_lock
from fastapi_durable.engine.primitives.step import call
from fastapi_durable.engine.runs.completion import completion
from fastapi_durable.engine.runs.delivery import deliver_to_waiter, tell_receiver
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.body_task import is_interruption, take_back_own_cancels
from fastapi_durable.engine.turns.outcome import Continuation
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.position import inside_step
from fastapi_durable.engine.turns.step_log import logged_as_current
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import EntityNotRegisteredError, FatalError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, ErrorRecord, Json, Run, RunStatus
from fastapi_durable.transport.base import StepOutcome
from fastapi_durable.transport.threads import Called

_OPERATIONS_PER_LIFE = 50
_REMEMBERED_IDS = 500


async def live(ctx: WorkflowContext, input: EntityLife) -> None:
    """Execute operations until the history is long enough, then restart in place."""
    turn = turn_of(ctx)
    definition = turn.kernel.entities.get(input.name)
    if definition is None:
        # This worker does not know the entity. The operations wait for a worker that does.
        turn.block(EntityNotRegisteredError(input.name, sorted(turn.kernel.entities)))
    state, seen = input.state, deque(input.seen, maxlen=_REMEMBERED_IDS)
    for number in range(_OPERATIONS_PER_LIFE):
        message: Message = await Signal(turn, turn.take_position(), turn.run.id, Message).perform()
        if message.id is not None:
            if message.id in seen:
                continue
            seen.append(message.id)
        outcome = await Operation(turn, turn.take_position(), number, definition, state, message).perform()
        if outcome.status is CheckpointStatus.COMPLETED:
            state = outcome.output["state"]
        await ShownState(turn, turn.take_position(), state).perform()
        if message.reply is not None:
            await Answer(turn, turn.take_position(), number, message.reply, outcome).perform()
    last = EntityLife(name=input.name, key=input.key, state=state, seen=list(seen))
    encoded = turn.kernel.codec.encode(last, EntityLife, what=f"the state of {turn.run.id!r}")
    turn.continue_as_new(Continuation(input=encoded, in_place=True))


class Operation(Executed[Checkpoint]):
    """One operation on the state, and its outcome. Its changes count only if it returned."""

    def __init__(
        self, turn: Turn, seq: int, number: int, definition: EntityDefinition, state: Json, message: Message
    ) -> None:
        super().__init__(turn, seq, f"op:{number}")
        self._definition = definition
        self._state = state
        self._message = message

    @property
    def shown_as(self) -> str:
        return f"{self._definition.name}.{self._message.op}"

    @property
    def execution_id(self) -> str:
        """Named after the call that sent the operation, because the positions of the entity's run begin again at each
        restart.
        """
        call = self._message.call
        return super().execution_id if call is None else f"{self.turn.run.id}:{call}"

    async def act(self) -> Checkpoint:
        sent = {"op": self._message.op, "arg": self._message.arg}
        operation, started_at = self._definition.operations.get(self._message.op), self.turn.kernel.clock.now()
        if operation is None:
            # Nothing is executed, and the sender chose the name, so it must not create a span or a series of a metric.
            return await self.turn.hold(self.row(CheckpointStatus.FAILED, input=sent, error=self._unknown()))
        self.tell_start(1)
        outcome = await self._execute(operation)
        if self.turn.life.tasks.self_cancelled:
            outcome = await self.uncancelled(outcome)
        status = CheckpointStatus.COMPLETED if outcome.error is None else CheckpointStatus.FAILED
        row = self.row(
            status,
            input=sent,
            output=outcome.output,
            error=outcome.error,
            events=outcome.events,
            started_at=started_at,
        )
        recorded = await self.turn.hold(row)
        self.tell_end(recorded, recorded.output["result"] if recorded.status is CheckpointStatus.COMPLETED else None)
        return recorded

    def result(self, recorded: Checkpoint) -> Checkpoint:
        return recorded

    async def _execute(self, operation: StepDefinition) -> StepOutcome:
        """Execute the operation with its dependencies and interceptors."""
        turn, definition, log = self.turn, self._definition, self.log_of(1)
        kernel, codec = turn.kernel, turn.kernel.codec
        label = f"operation {self._message.op!r} of entity {definition.name!r}"
        try:
            instance = definition.state_type()
            if self._state is not None:
                instance = codec.decode(self._state, definition.state_type, what=f"the state of {turn.run.id!r}")
            value = codec.decode(self._message.arg, operation.input_type, what=f"the input of {label}")
            with logged_as_current(log):
                async with self.intercepted(1), kernel.injector.provide(operation.function) as dependencies:
                    with inside_step(self._message.op), kernel.executions.noted(turn.run.id, self.shown_as):
                        called = Called(
                            name=f"{label} (run {turn.run.id})",
                            key=self.step_id,
                            owner=turn.run.id,
                        )
                        try:
                            result = await call(
                                _bound(operation, instance), value, dependencies, threads=kernel.threads, called=called
                            )
                        finally:
                            if turn.life.tasks.self_cancelled:
                                await take_back_own_cancels()
            output = {
                "result": codec.encode(result, operation.output_type, what=f"the result of {label}"),
                "state": codec.encode(instance, definition.state_type, what=f"the state of {turn.run.id!r}"),
            }
        except BaseException as raised:
            if is_interruption(raised):
                raise
            return StepOutcome(error=error_record(raised), events=log.events)
        return StepOutcome(output=output, events=log.events)

    def _unknown(self) -> ErrorRecord:
        known, definition = ", ".join(sorted(self._definition.operations)), self._definition
        return error_record(
            FatalError(
                f"entity {definition.name!r} has no operation {self._message.op!r} (it has: {known})",
                code="unknown_operation",
            )
        )


def _bound(operation: StepDefinition, instance: object) -> StepDefinition:
    return StepDefinition(
        name=operation.name,
        function=partial(operation.function, instance),
        input_type=operation.input_type,
        output_type=operation.output_type,
        blocking=operation.blocking,
    )


class ShownState(Primitive[None]):
    """Publishes the state, so that it can be read from outside."""

    begins_effect = False

    def __init__(self, turn: Turn, seq: int, state: Json) -> None:
        super().__init__(turn, seq, STATE)
        self._state = state

    async def act(self) -> Checkpoint:
        return await self.turn.hold(self.row(CheckpointStatus.COMPLETED, output=self._state))

    def returns(self, _: Json) -> None:
        """Nothing."""


class Answer(Primitive[None]):
    """Delivers the outcome of an operation to the call that waits for it."""

    def __init__(self, turn: Turn, seq: int, number: int, reply: str, outcome: Checkpoint) -> None:
        super().__init__(turn, seq, f"reply:{number}")
        self._reply = reply
        self._outcome = outcome
        self._receiver: Run | None = None

    async def act(self) -> Checkpoint:
        recorded = await self.commit(self._hand_over)
        if self._receiver is not None:
            tell_receiver(self.turn.kernel.notifications, self._receiver)
        return recorded

    async def _hand_over(self) -> Checkpoint:
        turn = self.turn
        async with turn.transaction() as transaction:
            await transaction.lock_name(signal_lock(self._reply))
            # Lock the entity before its caller, in the same order as the sender.
            await own_run(turn, transaction)
            waiter = await transaction.find_signal_waiter(self._reply)
            if waiter is not None:
                # If there is no waiter, the caller has ended, and no other call needs this answer.
                answer = answer_of(self._outcome)
                self._receiver = await deliver_to_waiter(transaction, waiter, answer, now=turn.kernel.clock.now())
            return await self.record_in(transaction, self.row(CheckpointStatus.COMPLETED))

    def returns(self, _: Json) -> None:
        """Nothing."""


def answer_of(outcome: Checkpoint) -> Json:
    """Return the stored form of an answer, which is the form of a child's completion."""
    if outcome.status is CheckpointStatus.COMPLETED:
        return completion(RunStatus.COMPLETED, outcome.output["result"], None)
    return completion(RunStatus.FAILED, None, outcome.error or ErrorRecord(message="the operation failed"))


def entity_workflow() -> WorkflowDefinition:
    """Return the engine's own workflow, of which every entity is a run."""
    return WorkflowDefinition(
        name=WORKFLOW, version="1", function=live, input_type=EntityLife, output_type=type(None), origin=None
    )
