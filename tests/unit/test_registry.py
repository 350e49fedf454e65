"""Which definition a name, a function and a version mean."""

import itertools
from typing import Any

import pytest

from fastapi_durable.declare.definition import WorkflowDefinition, workflow, workflow_definition
from fastapi_durable.engine.core.registry import WorkflowRegistry
from fastapi_durable.model.errors import DefinitionError, WorkflowNotRegisteredError


def version_of(number: str, *, name: str = "order") -> Any:
    @workflow(name=name, version=number)
    async def flow(ctx: Any) -> None: ...

    return flow


def definitions(*numbers: str) -> list[WorkflowDefinition]:
    return [workflow_definition(version_of(number)) for number in numbers]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("9", "10"),
        ("2", "2.1"),
        ("2.9", "2.10"),
        ("2025-12", "2026-1"),
        ("beta", "1"),
        ("v9", "v10"),
        ("1a", "1b"),
    ],
)
def test_the_newest_version_is_that_of_the_natural_order(older: str, newer: str) -> None:
    """Whatever the order in which they are registered."""
    for numbers in itertools.permutations((older, newer)):
        registry = WorkflowRegistry(definitions(*numbers))
        assert registry.get("order").version == newer
        assert [each.version for each in registry.newest] == [newer]


def test_a_version_that_is_named_is_exactly_that_one() -> None:
    """Never the next best: a run has to be replayed by the code that recorded it."""
    registry = WorkflowRegistry(definitions("1", "3"))
    assert registry.get("order", "1").version == "1"
    assert registry.find("order", "2") is None
    with pytest.raises(WorkflowNotRegisteredError, match=r"order \(version 1\), order \(version 3\)"):
        registry.get("order", "2")
    with pytest.raises(WorkflowNotRegisteredError):
        registry.get("orders")


def test_a_function_means_the_version_that_it_declares() -> None:
    old, new = version_of("1"), version_of("2")
    registry = WorkflowRegistry([workflow_definition(old), workflow_definition(new)])
    assert registry.resolve(old).version == "1"
    assert registry.resolve(old, "2").version == "2"
    assert registry.resolve("order").version == "2"
    with pytest.raises(WorkflowNotRegisteredError):
        registry.resolve(version_of("3"))


def test_two_workflows_of_one_name_and_version_are_refused() -> None:
    with pytest.raises(DefinitionError, match="'order' in version '1' is registered twice"):
        WorkflowRegistry(definitions("1", "1"))
