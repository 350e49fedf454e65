"""Taking part in what this process does: told of what happens, and asked before an update is taken."""

from collections.abc import Callable
from typing import Any

from fastapi_durable.declare.definition import UpdateValidator, step_definition, workflow_definition
from fastapi_durable.declare.names import checked_part
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_events import LiveEvents
from fastapi_durable.engine.core.subscription import EventSubscriber


class Listening:
    """Live events, listeners, subscribers and validators of this process; other processes have their own."""

    _kernel: Kernel

    @property
    def events(self) -> LiveEvents:
        """What happens to runs and steps that this process drives, told while it happens."""
        return self._kernel.events

    def on_cancel(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Have `listener` called with a run's id when this process learns that the run was cancelled, or is to be.

        That is at once for a cancel made here, and otherwise when the worker that drives the run finds out: at its
        next write or renewal of the lease. For work that cannot be interrupted, such as a thread's. The listener is
        called in the event loop and must not block; the same cancel may be told twice.

        Returns:
            Removes the listener.
        """
        return self._kernel.notifications.on_run_cancelled(listener)

    def add_subscriber(self, subscriber: EventSubscriber) -> None:
        """Have somebody take part in publishing every event."""
        self._kernel.subscribers.append(subscriber)

    def register_update_validator(
        self, workflow: Callable[..., Any] | str, name: str, validator: UpdateValidator
    ) -> None:
        """Have updates of a workflow validated in this process; takes the place of a declared validator.

        Raises:
            DefinitionError: the validator does not take the value, or nothing.
        """
        step_definition(validator)
        workflow_name = workflow if isinstance(workflow, str) else workflow_definition(workflow).name
        self._kernel.update_validators[workflow_name, checked_part("name of an update", name)] = validator
