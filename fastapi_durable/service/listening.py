"""Live events, listeners and validators of this process."""

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
        """Live events of the runs and steps that this process drives."""
        return self._kernel.events

    def on_cancel(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call a function when this process learns that a run is cancelled or is to be cancelled.

        A cancel that is made in this process is reported at once. Otherwise the worker that drives the run finds out
        with its next write or lease renewal. Use it for work that cannot be interrupted, such as a thread.

        Args:
            listener: Function that receives the run's id. It runs in the event loop and must not block. It may be
                called twice for one cancel.

        Returns:
            A function that removes the listener.
        """
        return self._kernel.notifications.on_run_cancelled(listener)

    def add_subscriber(self, subscriber: EventSubscriber) -> None:
        """Add a subscriber that takes part in publishing every event of this process.

        Args:
            subscriber: Object with the methods of `EventSubscriber`.
        """
        self._kernel.subscribers.append(subscriber)

    def register_update_validator(
        self, workflow: Callable[..., Any] | str, name: str, validator: UpdateValidator
    ) -> None:
        """Set the validator of an update in this process, in place of a declared one.

        Args:
            workflow: The decorated function or class, or its name.
            name: Name of the update.
            validator: Function that takes the value, or nothing. It refuses by raising.

        Raises:
            DefinitionError: the validator takes other parameters.
        """
        step_definition(validator)
        workflow_name = workflow if isinstance(workflow, str) else workflow_definition(workflow).name
        self._kernel.update_validators[workflow_name, checked_part("name of an update", name)] = validator
