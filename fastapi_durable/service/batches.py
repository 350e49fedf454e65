"""Starting many runs of one workflow: all of them, or none."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, Unpack, overload

from fastapi_durable.engine.context.references import WorkflowOf
from fastapi_durable.engine.runs.create import about_input, create_all
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.queues import know_queue
from fastapi_durable.engine.runs.start_validation import refuse_unknown, refuses_existing
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.text import shown
from fastapi_durable.service.starts import Input, Output, SharedStartOptions, StartOptions, Starts

MOST_STARTS: Final = 1000
"""Runs of one `start_many`, which is one transaction."""


class BatchStarts(Starts):
    """The part of the façade that starts many runs at once."""

    @overload
    async def start_many(
        self,
        workflow: WorkflowOf[Input, Output],
        inputs: Iterable[Input],
        /,
        *,
        run_id: Callable[[Input], str] | None = None,
        **options: Unpack[SharedStartOptions],
    ) -> list[RunHandle[Output]]: ...
    @overload
    async def start_many(
        self,
        workflow: str,
        inputs: Iterable[Any],
        /,
        *,
        run_id: Callable[[Any], str] | None = None,
        **options: Unpack[SharedStartOptions],
    ) -> list[RunHandle[Any]]: ...
    async def start_many(
        self,
        workflow: Callable[..., Any] | str,
        inputs: Iterable[Any],
        /,
        *,
        run_id: Callable[[Any], str] | None = None,
        **options: Unpack[SharedStartOptions],
    ) -> list[RunHandle[Any]]:
        """Create a run for each input in one transaction: all of them, or none if one is refused.

        Each run is as `start` makes it. With `run_id` the call is idempotent: it can be repeated, and creates the runs
        that are not there yet.

        Args:
            workflow: The decorated function or class, or a registered name.
            inputs: One for each run, 1,000 at most.
            run_id: Makes the run's id of its input. Default: random UUIDs.
            options: Of each run; see `SharedStartOptions`.

        Returns:
            The handles, in the order of the inputs.

        Raises:
            InputValidationError: an input does not fit the workflow's type, an id or an option is invalid, two inputs
                have the same id, or there are too many inputs.
            RunIdTakenError, RunExistsError, SingletonQueueFullError: as `start`, for the input at `error.index`.
            WorkflowNotRegisteredError, TooManyDelayedStartsError, StoreUnavailableError: as `start`.
        """
        refuse_unknown("start_many", options, SharedStartOptions)
        refuses = refuses_existing(options.get("if_exists", "return"))
        given = _checked(inputs)
        if not given:
            return []
        kernel, places = self._kernel, dict[str, int]()
        runs = []
        for index, input in enumerate(given):
            with about_input(index):
                its_options: StartOptions = {**options, "run_id": None if run_id is None else run_id(input)}
                definition, run = self._new_run(workflow, input, its_options)
                if (other := places.setdefault(run.id, index)) != index:
                    raise InputValidationError(f"run_id must differ from that of inputs[{other}], got {shown(run.id)}")
            runs.append(run)
        await know_queue(kernel, runs[0].namespace, runs[0].queue)
        await self._take_delayed_starts(*runs)
        created = await create_all(kernel, definition, runs, refuses_existing=refuses)
        if (begins_at := runs[0].wake_at) is not None:
            kernel.notifications.wake_planned(begins_at)
        else:
            kernel.notifications.work_available()
        return [self._handle(each.run.id, definition.output_type, created=each.created) for each in created]


def _checked(inputs: Iterable[Any]) -> list[Any]:
    if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
        raise InputValidationError(f"inputs must be a list of inputs, got {type(inputs).__name__}")
    given = list(islice(inputs, MOST_STARTS + 1))
    if len(given) > MOST_STARTS:
        raise InputValidationError(f"inputs must be at most {MOST_STARTS}, got more. Start them in several calls")
    return given
