"""The workflows that an engine knows, by name and version, and the steps that may be called by name."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, WorkflowDefinition, step_definition, workflow_definition
from fastapi_durable.declare.methods import Method
from fastapi_durable.model.errors import DefinitionError, StepNotRegisteredError, WorkflowNotRegisteredError
from fastapi_durable.model.reserved import is_engine_workflow

_DIGITS = re.compile(r"(\d+)")


class WorkflowRegistry:
    """Looks up definitions. A name without a version means the newest version."""

    def __init__(self, definitions: Iterable[WorkflowDefinition]) -> None:
        self._by_key: dict[tuple[str, str], WorkflowDefinition] = {}
        self._newest: dict[str, WorkflowDefinition] = {}
        for definition in definitions:
            if definition.key in self._by_key:
                name, version = definition.key
                raise DefinitionError(
                    f"workflow {name!r} in version {version!r} is registered twice; give one of them another name or "
                    "version"
                )
            self._by_key[definition.key] = definition
            newest = self._newest.get(definition.name)
            if newest is None or version_order(definition.version) > version_order(newest.version):
                self._newest[definition.name] = definition

    @property
    def keys(self) -> frozenset[tuple[str, str]]:
        """All `(name, version)` pairs."""
        return frozenset(self._by_key)

    @property
    def declared(self) -> list[WorkflowDefinition]:
        """The workflows of the application, without the engine's own, by name and version."""
        return [self._by_key[key] for key in sorted(self._by_key) if not is_engine_workflow(key[0])]

    @property
    def newest(self) -> list[WorkflowDefinition]:
        """The newest version of each workflow."""
        return list(self._newest.values())

    def get(self, name: str, version: str | None = None) -> WorkflowDefinition:
        """Return the definition of this version. Without a version, return the newest.

        Raises:
            WorkflowNotRegisteredError: there is none.
        """
        found = self._newest.get(name) if version is None else self._by_key.get((name, version))
        if found is None:
            registered = [f"{each.name} (version {each.version})" for each in self.declared]
            raise WorkflowNotRegisteredError(name, version, registered)
        return found

    @property
    def has_timeouts(self) -> bool:
        """Whether any workflow has an execution timeout."""
        return any(definition.execution_timeout is not None for definition in self._by_key.values())

    def find(self, name: str, version: str) -> WorkflowDefinition | None:
        return self._by_key.get((name, version))

    def resolve(self, workflow: Callable[..., Any] | str, version: str | None = None) -> WorkflowDefinition:
        """Return the definition of a name, or of a workflow function in the version that it declares.

        Raises:
            WorkflowNotRegisteredError: it is not registered with this engine.
            DefinitionError: the function is not decorated with `@workflow`.
        """
        if isinstance(workflow, str):
            return self.get(workflow, version)
        declared = workflow_definition(workflow)
        return self.get(declared.name, declared.version if version is None else version)


class StepRegistry:
    """Looks up steps by their declared name, and steps of workflow classes by the method.

    Args:
        definitions: Steps that can be called by name. Steps of classes can be called by the method as well.
        methods: Steps of workflow classes, which can be called by the method.
    """

    def __init__(self, definitions: Iterable[StepDefinition], methods: Iterable[StepDefinition] = ()) -> None:
        self._by_name: dict[str, StepDefinition] = {}
        self._by_method: dict[Callable[..., Any], StepDefinition] = {}
        for definition in definitions:
            known = self._by_name.setdefault(definition.name, definition)
            if known.function != definition.function:
                raise DefinitionError(f"two steps are registered as {definition.name!r}; give one of them another name")
        for definition in (*self._by_name.values(), *methods):
            if isinstance(definition.function, Method):
                self._by_method[definition.function.attribute] = definition

    def get(self, name: str) -> StepDefinition:
        """Return the step of this name.

        Raises:
            StepNotRegisteredError: there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            raise StepNotRegisteredError(name, sorted(self._by_name))
        return found

    def resolve(self, function: Callable[..., Any] | str) -> StepDefinition:
        """Return the step definition of a function, a bound method, a method of a registered class, or a name.

        Raises:
            DefinitionError: its signature does not fit a step.
            StepNotRegisteredError: there is no step of this name.
        """
        if isinstance(function, str):
            return self.get(function)
        found = self._by_method.get(function) if self._by_method and inspect.isfunction(function) else None
        return step_definition(function) if found is None else found


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Natural order: "10" after "9", "2.1" after "2"."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in _DIGITS.split(version) if part)
