"""The façade as a whole: `WorkflowService` has all of it, `RunGateway` the part of dashboards and operators."""

from dataclasses import replace

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.service.batches import BatchStarts
from fastapi_durable.service.deliveries import Deliveries
from fastapi_durable.service.entities import Entities
from fastapi_durable.service.executions import Executions
from fastapi_durable.service.inspection import Inspection
from fastapi_durable.service.listening import Listening
from fastapi_durable.service.operations import Operations
from fastapi_durable.service.streams import Streams
from fastapi_durable.service.transactions import Transactions


class RunGateway(Inspection, Operations):
    """Reads runs and acts on them: cancel, pause, retry, fork, delete. Inject it as `RunGatewayDep`.

    It sees and touches the runs of the module's namespace only, or of all namespaces if the module has none.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def in_namespace(self, namespace: str | None) -> "RunGateway":
        """Return this gateway, confined to one namespace.

        Args:
            namespace: The namespace. None returns the gateway as it is.

        Returns:
            A gateway that sees and touches only the runs of the namespace.

        Raises:
            ValueError: the gateway is already confined to another namespace.
        """
        config = self._kernel.config
        if namespace in (None, config.namespace):
            return self
        if config.namespace is not None:
            raise ValueError(
                f"namespace must be {config.namespace!r}, to which this gateway is confined, got {namespace!r}"
            )
        return RunGateway(replace(self._kernel, config=config.model_copy(update={"namespace": namespace})))


class WorkflowService(RunGateway, Executions, BatchStarts, Transactions, Deliveries, Streams, Entities, Listening):
    """Everything that an application asks of runs and entities. Inject it as `WorkflowServiceDep`.

    Every method raises `StoreUnavailableError` while the database cannot be reached. The call may have taken effect
    all the same. With an id of your own (`run_id`, `signal_id`, `event_id`, `operation_id`) you can repeat it without
    harm.
    """
