"""Every error of the library.

DurableError
├── ConfigurationError              options, lifespan, roles
│   ├── NotStartedError             the lifespan has not run
│   ├── InjectionError              a dependency cannot be resolved outside a request
│   ├── DefinitionError             a workflow or step is declared wrongly
│   └── SchemaMismatchError         the Prisma client or the tables lack something
├── StoreError
│   ├── StoreUnavailableError       the database cannot be reached
│   ├── StoreConflictError          another transaction was in the way; the same one may succeed when tried again
│   ├── TransactionExpiredError     the transaction took longer than its timeout and was undone
│   └── LeaseLostError              another worker owns the run now
├── SerializationError              a value has no JSON form, or the stored form does not fit the type
│   └── InputValidationError        what a caller gave does not validate: an input, an option, a payload
├── WorkflowNotRegisteredError      unknown name or version
├── WorkflowNotServedError          no live worker has the workflow that a client starts by name
├── StepNotRegisteredError          unknown name of a step
├── EntityNotRegisteredError        this engine does not know the entity
├── RunNotFoundError
├── ScheduleNotFoundError
├── RunIdTakenError                 the id is that of another workflow's run
├── RunExistsError                  a run of this id exists, and the caller wants a new one
├── RunNotCommittedError            the transaction that starts the run is open
├── RunStateError                   the run's status does not allow this
├── SingletonQueueFullError         too many runs of one singleton key wait already
├── TooManyDelayedStartsError       too many runs wait for their `delay` or `at` already
├── NonDeterminismError             the code no longer matches the recorded history
├── OutsideWorkflowError            a workflow-only call was made elsewhere
├── SignalTokenTakenError           another live run waits for this token
├── StreamFullError                 a stream, or a run with its streams, has come to its limit
├── StreamClosedError               the workflow has closed the stream
├── StepFailedError                 a step failed for good (raised in the workflow body)
├── ChildFailedError                a child run ended without a result (raised in the workflow body)
├── TaskFailedError                 `fail_task` was called for a task (raised in the workflow body)
├── UpdateFailedError               the run answered an update with an error (raised by `service.update(wait=)`)
├── EntityOperationError            an operation of an entity failed (raised in the workflow body)
├── GatherError                     some of several children or branches failed (raised in the workflow body)
├── SignalTimeoutError              no signal before the deadline (raised in the workflow body)
├── RunUnsuccessfulError            raised by `handle.result()`
│   ├── RunFailedError
│   ├── RunCancelledError
│   └── RunDeadError
├── ResultTimeoutError              the run was not finished in time
└── NoWorkerError                   no live worker can drive the run that a caller waits for

FatalError                          raised by user code: do not retry
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from fastapi_durable.model.records import ErrorRecord, RunStatus
from fastapi_durable.model.text import class_name, text_of


class DurableError(Exception):
    """Base of every error that the library raises.

    Attributes:
        index: Which of the inputs of a `start_many` was refused, counted from 0. None: it is not about one of several.
    """

    index: int | None = None


class FatalError(Exception):
    """Raise this in a step to fail at once, without further attempts.

    Args:
        message: Text of the error.
        code: Code to store with the error, so that callers and dashboards can tell failures apart.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class ConfigurationError(DurableError):
    """The module, its options or its role are configured wrongly."""


class NotStartedError(ConfigurationError):
    """The module's lifespan has not run in this application."""

    def __init__(self) -> None:
        super().__init__(
            "fastapi_durable is not started in this application: its lifespan has not run. Pass the lifespan "
            "(`FastAPI(lifespan=durable.lifespan)`, or `async with durable.lifespan(app)` inside your own). Start a "
            "mounted sub-application in the lifespan of its parent. In a test, enter the lifespan "
            "(`async with app.router.lifespan_context(app)`)"
        )


class InjectionError(ConfigurationError):
    """A dependency of a step, a workflow or the options factory cannot be resolved."""


class DefinitionError(ConfigurationError):
    """The declaration of a workflow or step is invalid."""


class SchemaMismatchError(ConfigurationError):
    """The Prisma client or the database tables lack something that the library needs.

    Attributes:
        missing: Names of what is missing.
    """

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class StoreError(DurableError):
    """The state store could not carry out a call."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached. The same call may succeed later."""


class StoreConflictError(StoreError):
    """A transaction conflicted with another one and was undone. The same transaction may succeed when it runs again.

    Attributes:
        undid_outer: Whether a conflict in an inner transaction undid the outer one, which is still open. Run the whole
            outer transaction again.
    """

    undid_outer = False


class TransactionExpiredError(StoreError):
    """A transaction took longer than its timeout. Everything in it was undone.

    Attributes:
        timeout: The timeout.
    """

    def __init__(self, timeout: timedelta) -> None:
        super().__init__(
            f"the transaction was undone: it was not finished within {timeout}. Do slow work (HTTP calls, computing) "
            "outside of the transaction, or give it a longer timeout"
        )
        self.timeout = timeout


class LeaseLostError(StoreError):
    """A turn tried to write to a run that it no longer owns. Nothing was written.

    Attributes:
        run_id: Id of the run.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} is no longer owned by this turn: its lease expired and another worker took it, or an "
            "operator changed its status. Nothing was written"
        )
        self.run_id = run_id


class SerializationError(DurableError):
    """A value cannot be stored as JSON, or a stored value does not fit the declared type.

    Attributes:
        misfit: Whether a value that was to be stored does not fit its declared type. A step that returned it fails
            this attempt, and the next attempt may return another value.
    """

    def __init__(self, message: str, *, misfit: bool = False) -> None:
        super().__init__(message)
        self.misfit = misfit


class InputValidationError(SerializationError):
    """A caller's value is invalid: the input of a start, an option, a payload. Nothing was started or delivered."""


class WorkflowNotRegisteredError(DurableError):
    """No workflow of this name and version is registered with the module.

    Attributes:
        name: Name that was asked for.
        version: Version that was asked for. None: any.
        registered: The registered workflows.
    """

    def __init__(self, name: str, version: str | None, registered: Sequence[str]) -> None:
        wanted = f"{name!r}" if version is None else f"{name!r} in version {version!r}"
        known = ", ".join(registered) or "none"
        super().__init__(
            f"no workflow {wanted} is registered (registered: {known}). Add it to `workflows=[...]` of the "
            "DurableModule, and keep a version deployed while runs of it are alive"
        )
        self.name = name
        self.version = version
        self.registered = tuple(registered)


class WorkflowNotServedError(DurableError):
    """No live worker has the workflow that a client starts by name. Nothing was started.

    Attributes:
        name: Name that was asked for.
        version: Version that was asked for. None: any.
        served: The workflows that the live workers have.
    """

    def __init__(self, name: str, version: str | None, *, namespace: str, served: Sequence[str]) -> None:
        wanted = f"{name!r}" if version is None else f"{name!r} in version {version!r}"
        known = ", ".join(served) or "none"
        super().__init__(
            f"no run was started: no live worker of namespace {namespace!r} has a workflow {wanted} (live workers "
            f"have: {known}). Start a worker that has it. To start the run before the worker, pass "
            "unserved='start' and version="
        )
        self.name = name
        self.version = version
        self.served = tuple(served)


class StepNotRegisteredError(DurableError):
    """No step of this name is registered with the module.

    Attributes:
        name: Name that was asked for.
        registered: The registered steps.
    """

    def __init__(self, name: str, registered: Sequence[str]) -> None:
        known = ", ".join(registered) or "none"
        super().__init__(
            f"no step {name!r} is registered (registered: {known}). Add it to `steps=[...]` of the DurableModule, or "
            "pass the function itself to ctx.step"
        )
        self.name = name
        self.registered = tuple(registered)


class EntityNotRegisteredError(DurableError):
    """No entity of this name is registered with the module. Its operations wait for a worker that has it.

    Attributes:
        name: Name that was asked for.
        registered: The registered entities.
    """

    def __init__(self, name: str, registered: Sequence[str]) -> None:
        known = ", ".join(registered) or "none"
        super().__init__(
            f"no entity {name!r} is registered (registered: {known}). Add it to `entities=[...]` of the DurableModule"
        )
        self.name = name
        self.registered = tuple(registered)


class RunNotFoundError(DurableError):
    """No run has this id.

    Attributes:
        run_id: The id.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run has the id {run_id!r}")
        self.run_id = run_id


class ScheduleNotFoundError(DurableError):
    """No schedule of this module has this key.

    Attributes:
        key: The key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"no schedule has the key {key!r}. Declare it in DurableOptions(schedules=[...])")
        self.key = key


class RunNotCommittedError(DurableError):
    """A handle was read inside the transaction that starts its run.

    Attributes:
        run_id: Id of the run.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} was started in a transaction that is still open: no worker sees it before the commit. Use "
            "the handle after the block of the transaction"
        )
        self.run_id = run_id


class RunStateError(DurableError):
    """The status of the run does not allow this action.

    Attributes:
        run_id: Id of the run.
        status: Status of the run.
    """

    def __init__(self, run_id: str, status: RunStatus, action: str) -> None:
        super().__init__(f"run {run_id!r} is {status} and cannot be {action}")
        self.run_id = run_id
        self.status = status


class RunIdTakenError(DurableError):
    """The run id is already used by a run of another workflow, or of a namespace that the caller does not see.

    Attributes:
        run_id: The id.
        workflow: Workflow that was to be started.
    """

    def __init__(self, run_id: str, workflow: str) -> None:
        super().__init__(
            f"no run of workflow {workflow!r} was started: the id {run_id!r} is already used by a run of another "
            "workflow or namespace. All workflows share their ids, so put the workflow's name into them"
        )
        self.run_id = run_id
        self.workflow = workflow


class RunExistsError(DurableError):
    """A run of this id exists, and the start was made with `if_exists="refuse"`. Nothing was started.

    Attributes:
        run_id: The id.
        workflow: Workflow that was to be started.
        status: Status of the run that exists.
    """

    def __init__(self, run_id: str, workflow: str, status: RunStatus) -> None:
        super().__init__(
            f"no run of workflow {workflow!r} was started: run {run_id!r} exists and is {status}. Choose another id, "
            "or leave out if_exists='refuse' to get that run"
        )
        self.run_id = run_id
        self.workflow = workflow
        self.status = status


class SingletonQueueFullError(DurableError):
    """Too many runs of one singleton key are alive. No run was created.

    Attributes:
        workflow: Name of the workflow.
        key: The singleton key.
        alive: Number of runs of the key that are alive.
    """

    def __init__(self, workflow: str, key: str, alive: int) -> None:
        super().__init__(
            f"no more runs of workflow {workflow!r} with the singleton key {key!r} may wait: {alive} are alive. "
            "Try again later, or raise max_queue_depth"
        )
        self.workflow = workflow
        self.key = key
        self.alive = alive


class TooManyDelayedStartsError(DurableError):
    """Too many runs of the namespace wait for the moment at which they begin. No run was created.

    Attributes:
        namespace: The namespace.
        limit: Number of runs that may wait, `max_delayed_starts`.
    """

    def __init__(self, namespace: str, limit: int) -> None:
        super().__init__(
            f"no run was started for later: {limit} runs of namespace {namespace!r} wait for their delay or at "
            "already. Try again later, or raise the setting max_delayed_starts"
        )
        self.namespace = namespace
        self.limit = limit


class NonDeterminismError(DurableError):
    """The workflow's code makes another call than its history recorded at this position.

    The run is `blocked`, and nothing is undone. Deploy code that fits the history, and the run continues: guard
    changes with `ctx.patched`, or give the changed workflow a new version.

    Attributes:
        run_id: Id of the run.
        workflow: Name of the run's workflow.
        seq: The position, counted from 0.
        recorded: The call that the history holds there.
        found: The call that the code makes.
        place: The line of the code, as `file:line`. None: not known.
        __cause__: The exception that the body had raised or was handling. None: none.
    """

    def __init__(
        self,
        run_id: str,
        seq: int,
        recorded: str,
        found: str,
        *,
        workflow: str,
        place: str | None = None,
        after: BaseException | None = None,
        raised_at: str | None = None,
    ) -> None:
        asks = found if place is None else f"{found} ({place})"
        because = ""
        if after is not None:
            raised = text_of(after)
            raised = f"{class_name(after)}: {raised}" if raised else class_name(after)
            because = f" This comes after {raised}{'' if raised_at is None else f' ({raised_at})'}."
        super().__init__(
            f"run {run_id!r} of workflow {workflow!r} diverged at position {seq}: its history recorded {recorded}, "
            f"the code asks for {asks}.{because} Deploy code that fits the history, and the run continues: guard a "
            "change with ctx.patched(), or give the changed workflow a new version"
        )
        self.run_id = run_id
        self.seq = seq
        self.recorded = recorded
        self.found = found
        self.workflow = workflow
        self.place = place
        self.__cause__ = after


class OutsideWorkflowError(DurableError):
    """A call that only a workflow body may make was made elsewhere."""


class SignalTokenTakenError(DurableError):
    """Another live run already waits for the token. A signal has one receiver.

    Attributes:
        token: The token.
        owner_run_id: Id of the run that waits.
    """

    def __init__(self, token: str, owner_run_id: str) -> None:
        super().__init__(
            f"signal {token!r} is already awaited by run {owner_run_id!r}: one run waits for a token at a time. Put "
            "the run's id into the token"
        )
        self.token = token
        self.owner_run_id = owner_run_id


class StreamFullError(DurableError):
    """A stream accepts no more items, or a run has too many streams. A retry would meet the same limit.

    Attributes:
        run_id: Id of the run.
        stream: Name of the stream.
    """

    def __init__(self, run_id: str, stream: str, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.stream = stream


class StreamClosedError(DurableError):
    """The workflow has closed the stream, so it accepts no more items.

    Attributes:
        run_id: Id of the run.
        stream: Name of the stream.
    """

    def __init__(self, run_id: str, stream: str) -> None:
        super().__init__(f"stream {stream!r} of run {run_id!r} is closed. Append to it before `close()`")
        self.run_id = run_id
        self.stream = stream


class StepFailedError(DurableError):
    """A step failed for good. It is rebuilt from the stored error, so the first run and every replay see the same.

    Attributes:
        step: Name of the step.
        error: The stored failure: message, code, stack, and the class name of the original exception.
        attempts: Number of attempts.
    """

    def __init__(self, step: str, error: ErrorRecord, attempts: int) -> None:
        plural = "attempt" if attempts == 1 else "attempts"
        super().__init__(f"step {step!r} failed after {attempts} {plural}: {error.message}")
        self.step = step
        self.error = error
        self.attempts = attempts

    @property
    def code(self) -> str | None:
        """The code of the stored error."""
        return self.error.code


class ChildFailedError(DurableError):
    """A child run failed, was cancelled, timed out or died. It is rebuilt from the stored error on every replay.

    Attributes:
        run_id: Id of the child.
        workflow: Workflow of the child.
        error: The child's stored error, as complete as the child's own.
    """

    def __init__(self, run_id: str, workflow: str, error: ErrorRecord) -> None:
        super().__init__(f"child {run_id!r} of workflow {workflow!r} failed: {error.message}")
        self.run_id = run_id
        self.workflow = workflow
        self.error = error

    @property
    def code(self) -> str | None:
        """The code of the stored error."""
        return self.error.code


class TaskFailedError(DurableError):
    """`fail_task` reported the failure of a task.

    Attributes:
        run_id: Id of the run.
        task: Name of the task.
        error: The reported error.
    """

    def __init__(self, run_id: str, task: str, error: ErrorRecord) -> None:
        super().__init__(f"task {task!r} of run {run_id!r} failed: {error.message}")
        self.run_id = run_id
        self.task = task
        self.error = error

    @property
    def code(self) -> str | None:
        """The code of the reported error."""
        return self.error.code


class UpdateFailedError(DurableError):
    """The function that answers an update raised an error. The run has accepted the update.

    Attributes:
        run_id: Id of the run.
        update: Name of the update.
        error: The error of the function.
    """

    def __init__(self, run_id: str, update: str, error: ErrorRecord) -> None:
        super().__init__(f"update {update!r} of run {run_id!r} failed: {error.message}")
        self.run_id = run_id
        self.update = update
        self.error = error

    @property
    def code(self) -> str | None:
        """The code of the error."""
        return self.error.code


class EntityOperationError(DurableError):
    """An operation of an entity failed, or could not be sent. It is rebuilt from the stored error on every replay.

    Attributes:
        entity: Name of the entity.
        key: Key of the entity.
        operation: Name of the operation.
        error: The operation's stored error.
    """

    def __init__(self, entity: str, key: str, operation: str, error: ErrorRecord) -> None:
        super().__init__(f"operation {operation!r} of entity {entity!r} {key!r} failed: {error.message}")
        self.entity = entity
        self.key = key
        self.operation = operation
        self.error = error

    @property
    def code(self) -> str | None:
        """The code of the stored error."""
        return self.error.code


class GatherError(DurableError):
    """At least one of several children or branches failed.

    Attributes:
        failures: The error of each one that failed, by its index in the call.
        total: Number of children or branches.
    """

    def __init__(self, failures: Mapping[int, Exception], *, total: int) -> None:
        listed = "; ".join(f"[{index}] {text_of(error)}" for index, error in sorted(failures.items())[:5])
        more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
        super().__init__(f"{len(failures)} of {total} failed: {listed}{more}")
        self.failures = dict(failures)
        self.total = total


class SignalTimeoutError(DurableError, TimeoutError):
    """No signal arrived before the deadline.

    Attributes:
        token: Token of the signal.
        timeout: The timeout of the wait.
    """

    def __init__(self, token: str, timeout: timedelta) -> None:
        super().__init__(f"no signal {token!r} arrived within {timeout}")
        self.token = token
        self.timeout = timeout


class RunUnsuccessfulError(DurableError):
    """The run ended without a result.

    Attributes:
        run_id: Id of the run.
        workflow: Workflow of the run.
        error: The stored failure. None: none was stored.
    """

    def __init__(self, run_id: str, workflow: str, error: ErrorRecord | None, ending: str) -> None:
        detail = f": {error.message}" if error is not None and error.message else ""
        super().__init__(f"run {run_id!r} of workflow {workflow!r} {ending}{detail}")
        self.run_id = run_id
        self.workflow = workflow
        self.error = error

    @property
    def code(self) -> str | None:
        """The code of the stored failure. None: none."""
        return None if self.error is None else self.error.code


class RunFailedError(RunUnsuccessfulError):
    """The body of the workflow raised."""

    def __init__(self, run_id: str, workflow: str, error: ErrorRecord | None) -> None:
        super().__init__(run_id, workflow, error, "failed")


class RunCancelledError(RunUnsuccessfulError):
    """The run was cancelled, by an operator or by its execution timeout."""

    def __init__(self, run_id: str, workflow: str, error: ErrorRecord | None) -> None:
        super().__init__(run_id, workflow, error, "was cancelled")


class RunDeadError(RunUnsuccessfulError):
    """The process of the run died too often without progress."""

    def __init__(self, run_id: str, workflow: str, error: ErrorRecord | None) -> None:
        super().__init__(run_id, workflow, error, "is dead")


class ResultTimeoutError(DurableError, TimeoutError):
    """The run did not end within the caller's timeout. It continues.

    Attributes:
        run_id: Id of the run.
        status: Status of the run.
    """

    def __init__(self, run_id: str, status: RunStatus, timeout: timedelta) -> None:
        super().__init__(f"run {run_id!r} is still {status} after {timeout}. It continues")
        self.run_id = run_id
        self.status = status


class NoWorkerError(DurableError):
    """No live worker can drive the run that a caller waits for. The run stays, and a worker that starts drives it.

    Attributes:
        run_id: Id of the run.
        workflow: Workflow of the run.
        version: Version of the workflow.
    """

    def __init__(self, run_id: str, workflow: str, version: str, *, namespace: str, waited: timedelta) -> None:
        super().__init__(
            f"run {run_id!r} has waited for a worker for {waited}: no live worker of namespace {namespace!r} has "
            f"workflow {workflow!r} in version {version!r}. The run stays, and a worker that starts drives it. Start a "
            "worker that has this version. To wait longer, raise the setting no_worker_after"
        )
        self.run_id = run_id
        self.workflow = workflow
        self.version = version
