"""What users may import. A name enters or leaves these lists on purpose: this test is the signed copy."""

import ast
import importlib
from pathlib import Path

import pytest

PUBLIC = {
    "fastapi_durable": """
        ALL_NAMESPACES Adaptive AllNamespaces Backoff Batch BulkCancellation ConsoleLogin ConsoleUser
        DeadLetter DurableClient DurableError DurableHealth DurableHealthDep DurableModule DurableOptions DurableRuntime
        DurableSettings DurableTasks DurableTasksDep EndedRun
        FatalError InProcessTransport LoginCredentials LoginCredentialsDep MemoryStateStore PostgresWakeups
        PrismaStateStore Queue Retention Role Run RunContextFilter RunFailedError RunGateway RunGatewayDep
        RunHandle RunQuery RunStatus Schedule ScheduleInfo Scheduler SchedulerDep SignalTimeoutError
        Singleton SqliteWakeups StateStore StateStoreDep StepExecution StepFailedError StepInterceptor
        StreamItem SyncDurableClient SyncRunHandle TaskTicket Undo UpdateResult Webhook Winner WorkflowContext
        WorkflowEngineDep WorkflowService WorkflowServiceDep WorkflowTransaction app_scoped current_context
        current_step entity exponential fixed
        keep log_context operation step workflow
    """,
    "fastapi_durable.errors": """
        ChildFailedError ConfigurationError DefinitionError DurableError EntityNotRegisteredError
        EntityOperationError FatalError GatherError InjectionError InputValidationError LeaseLostError
        NoWorkerError NonDeterminismError NotStartedError OutsideWorkflowError ResultTimeoutError RunCancelledError
        RunDeadError RunExistsError RunFailedError RunIdTakenError RunNotCommittedError RunNotFoundError
        RunStateError RunUnsuccessfulError
        ScheduleNotFoundError SchemaMismatchError SerializationError SignalTimeoutError
        SignalTokenTakenError SingletonQueueFullError StepFailedError StepNotRegisteredError
        StoreConflictError StoreError StoreUnavailableError StreamClosedError StreamFullError TaskFailedError
        TooManyDelayedStartsError TransactionExpiredError UpdateFailedError WorkflowNotRegisteredError
        WorkflowNotServedError
    """,
    "fastapi_durable.events": """
        Event EventSubscriber LiveEvent LiveEventType LiveEvents PublishedEvent Reception Refusal StepLog StepStream
        SubProcess
    """,
    "fastapi_durable.store": """
        AttributeFilter AttributeOperator BufferedEvent BufferedSignal Checkpoint CheckpointKind
        CheckpointStatus CreatedRun ErrorRecord HistoryState Json Lease Queue QueueLoad QueueState
        RecordedCheckpoint RetentionPolicy Run RunChanges RunFacet RunQuery RunStatus ScheduleState
        SearchAttributes SignalWaiter StateStore StoreTransaction StreamPart StreamRow StreamRowKind WorkerRecord
    """,
    "fastapi_durable.store.contract": """
        StateStoreContract
    """,
    "fastapi_durable.testing": """
        Clock HandClock History assert_replayable record_history settled
    """,
    "fastapi_durable.transport": """
        StepHandler StepOutcome StepTask Transport
    """,
    "fastapi_durable.transport.contract": """
        TransportContract
    """,
    "fastapi_durable.wakeups": """
        OnMessage Publish Topic Wakeup Wakeups
    """,
}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_of_a_module_are_the_signed_ones(module: str) -> None:
    imported = importlib.import_module(module)
    assert list(imported.__all__) == sorted(PUBLIC[module].split())
    assert [name for name in imported.__all__ if getattr(imported, name, None) is None] == []


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_imports_nothing_that_it_does_not_offer(module: str) -> None:
    tree = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(PUBLIC[module].split())


def test_every_error_of_the_library_is_public() -> None:
    declared = importlib.import_module("fastapi_durable.model.errors")
    errors = {
        name for name, value in vars(declared).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert errors == set(PUBLIC["fastapi_durable.errors"].split())
