"""The façade for routes and steps: start workflows, wait for them, speak to them, and act on them as an operator."""

from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.engine.entities.calls import Entities
from fastapi_durable.engine.operating.deliveries import Deliveries
from fastapi_durable.engine.operating.operations import Operations
from fastapi_durable.engine.starting.starts import Starts


class WorkflowService(Starts, Deliveries, Operations, Entities):
    """Everything that one can ask of runs and entities; inject it as `WorkflowServiceDep`.

    Any method raises `StoreUnavailableError` while the database cannot be reached. A delivery may then have happened:
    with an id of its own (`run_id`, `signal_id`, `event_id`, `operation_id`) it can be repeated without harm.
    """

    def __init__(self, engine: WorkflowEngine) -> None:
        self._kernel = engine.kernel
