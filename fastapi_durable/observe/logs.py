"""Logs that name their run, and that a replay does not repeat.

Works with `logging` as it is: a filter on a handler sees the records of every logger, the application's own included.
Other libraries take the same fields from `log_context()`.
"""

import logging
from typing import Any, Final

from fastapi_durable.engine.context.ambient import ambient_context
from fastapi_durable.engine.turns.position import is_inside_step
from fastapi_durable.engine.turns.step_log import current_step

FIELDS: Final = ("run_id", "workflow", "workflow_version", "namespace", "step", "attempt")


def log_context() -> dict[str, Any]:
    """Return the run and the step that the caller belongs to.

    Returns:
        `run_id`, `workflow`, `workflow_version` and `namespace`, and inside a step `step` and `attempt`. Empty outside
        of runs.
    """
    context = ambient_context()
    if context is None:
        return {}
    found: dict[str, Any] = {
        "run_id": context.run_id,
        "workflow": context.workflow,
        "workflow_version": context.workflow_version,
        "namespace": context.namespace,
    }
    step = current_step()
    if step.name is not None:
        found |= {"step": step.name, "attempt": step.attempt}
    return found


def is_replaying() -> bool:
    """Return whether the caller is a workflow's body that repeats earlier calls. Always False in a step."""
    context = ambient_context()
    return context is not None and not is_inside_step() and context.is_replaying


class RunContextFilter(logging.Filter):
    """Adds the fields of `log_context()` to every record, as None outside of runs, and hides what a replay logs again.

    Add it to the handlers: `handler.addFilter(RunContextFilter())`, or in `dictConfig` as `{"()":
    "fastapi_durable.RunContextFilter"}`. Then a format may contain `%(run_id)s`, and JSON formatters write the fields.

    Args:
        silent_on_replay: Whether to drop what a workflow's body logs during a replay. Messages of the library are
            never dropped.
    """

    def __init__(self, *, silent_on_replay: bool = True) -> None:
        super().__init__()
        self._silent_on_replay = silent_on_replay

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to a record.

        Args:
            record: The record.

        Returns:
            False if a replaying body logged the record and replays are silent.
        """
        if not hasattr(record, "workflow_version"):
            found = log_context()
            for name in FIELDS:
                setattr(record, name, found.get(name))
        if not self._silent_on_replay or record.name.partition(".")[0] == "fastapi_durable":
            return True
        return not is_replaying()
