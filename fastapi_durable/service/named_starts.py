"""Starts of workflows whose code this process does not have."""

from dataclasses import replace
from typing import Any, Literal

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.names import checked_name, checked_workflow_name
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.runs.start_validation import refuse_unknown
from fastapi_durable.model.errors import DefinitionError, InputValidationError, WorkflowNotServedError
from fastapi_durable.model.records import BY_NAME_TAG, NO_INPUT_TAG
from fastapi_durable.model.reserved import is_engine_workflow
from fastapi_durable.model.text import shown
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.service.starts import StartOptions


class NamedStartOptions(StartOptions, total=False):
    """Options of `client.start`; see also `StartOptions` and `SharedStartOptions`.

    Attributes:
        unserved: What to do if no live worker has the workflow: "refuse" the start, which is the default, or "start"
            the run, which waits for a worker. "start" needs `version`.
    """

    unserved: Literal["refuse", "start"]


class NamedStarts(WorkflowService):
    """Starts workflows by their names. The worker that claims a run adds what only the workflow's code knows."""

    async def start_named(
        self, workflow: str, input: Any, options: NamedStartOptions, *, output_type: Any
    ) -> RunHandle[Any]:
        """Create a run of a workflow that live workers have.

        Args:
            workflow: Name of the workflow.
            input: Input of the run.
            options: Options of the start.
            output_type: Type of the output.

        Returns:
            A handle to the run.

        Raises:
            InputValidationError: the name, the input or an option cannot be stored.
            WorkflowNotServedError: no live worker has the workflow.
        """
        refuse_unknown("start", options, NamedStartOptions)
        unserved = options.pop("unserved", "refuse")
        version = await self._version(workflow, options.get("version"), unserved)
        definition = WorkflowDefinition(
            name=workflow,
            version=version,
            function=_not_here,
            input_type=Any,
            output_type=output_type,
            default=None,
        )
        run = self._run_of(definition, input, options)
        mark = NO_INPUT_TAG if input is NO_INPUT else BY_NAME_TAG
        return await self._started(definition, replace(run, tags=(*run.tags, mark)), options)

    def typed_handle(self, run_id: str, output_type: Any) -> RunHandle[Any]:
        """Return a handle to a run that was started before.

        Args:
            run_id: Id of the run.
            output_type: Type of the output.
        """
        return self._handle(run_id, output_type, created=False)

    async def _version(self, workflow: Any, version: Any, unserved: Any) -> str:
        try:
            checked_workflow_name(workflow)
            if version is not None:
                checked_name(version)
        except DefinitionError as error:
            raise InputValidationError(str(error)) from error
        if unserved not in ("refuse", "start"):
            raise InputValidationError(f"unserved must be 'refuse' or 'start', got {shown(unserved)}")
        if unserved == "start":
            if version is None:
                raise InputValidationError("version must be given together with unserved='start', got none")
            return str(version)
        kernel, namespace = self._kernel, namespace_of(self._kernel.config)
        if await kernel.live_workers.serve(kernel.store, workflow, version, namespace=namespace):
            return str(version or kernel.live_workers.served(namespace)[workflow][-1])
        served = [
            f"{name} (version {each})"
            for name, versions in sorted(kernel.live_workers.served(namespace).items())
            for each in versions
            if not is_engine_workflow(name)
        ]
        raise WorkflowNotServedError(workflow, version, namespace=namespace, served=served)


async def _not_here(*_: Any) -> None:
    """Stands for the code of the workflow."""
