"""Every public callable says what it does in one line, and documents each of its parameters."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from book.api import MODULES, public_names
from book.docstrings import entries
from fastapi_durable.errors import DurableError
from fastapi_durable.store import StateStore, StoreTransaction
from fastapi_durable.transport import Transport
from tests.support.migrations import REPOSITORY

PORTS = (StateStore, StoreTransaction, Transport)
"""An adapter's method does what the method of the same name documents in its port."""

MADE_BY_THE_LIBRARY = {
    *("DurableModule", "DurableTasks", "LiveEvents", "RunGateway", "RunHandle", "Scheduler", "Webhook"),
    *("SyncRunHandle", "WorkflowContext", "WorkflowService", "WorkflowTransaction"),
}
"""Users call their methods, and never their constructors."""

WITHOUT_ENTRIES = {"DurableOptions", "DurableSettings", "StepLog", "StepStream", "SubProcess"}
"""The reference has a table of the options. The methods of a step's logger take a message, and data to show with it."""


class Documented(NamedTuple):
    """A callable, its parameters without `self`, and what its docstring says of each."""

    label: str
    summary: str
    parameters: list[str]
    documented: dict[str, str]


def is_ours(value: Any) -> bool:
    """Whether one of the packages holds the code, and not a base class or a decorator of somebody else's."""
    file = Path(value.__code__.co_filename)
    return any(file.is_relative_to(REPOSITORY / package) for package in ("fastapi_durable", "prisma_inprocess"))


def public_objects() -> Iterator[tuple[str, Any]]:
    """The functions and classes among the public names, the conformance suites aside."""
    for module in MODULES:
        for name in public_names(module):
            value = getattr(importlib.import_module(module), name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and not name.endswith("Contract"):
                yield name, value


def documented(label: str, function: Callable[..., Any], *others: object, drop: int) -> Documented:
    """What is said of a callable, by its own docstring or by those of others."""
    parameters = [name for name in list(inspect.signature(function).parameters)[drop:] if not name.startswith("_")]
    summary = next(filter(None, (inspect.getdoc(each) for each in (function, *others))), "").partition("\n\n")[0]
    said = {word: text for each in (*others, function) for word, text in entries(each, "Args", "Attributes").items()}
    return Documented(label, summary, parameters, said)


def methods(name: str, cls: type) -> Iterator[Documented]:
    for attribute, member in inspect.getmembers_static(cls):
        function = getattr(member, "__func__", member)
        if not inspect.isfunction(function) or not is_ours(function):
            continue
        drop = 0 if isinstance(member, staticmethod) else 1
        if not attribute.startswith("_"):
            ports = [getattr(port, attribute) for port in PORTS if hasattr(port, attribute)]
            yield documented(f"{name}.{attribute}", function, *ports, drop=drop)
        elif attribute == "__init__" and name not in MADE_BY_THE_LIBRARY and not issubclass(cls, DurableError):
            yield documented(name, function, cls, drop=drop)


def callables() -> list[Documented]:
    found: list[Documented] = []
    for name, value in public_objects():
        if inspect.isfunction(value):
            found.append(documented(name, value, drop=0))
        elif name not in WITHOUT_ENTRIES:
            found += methods(name, value)
    return found


def test_every_public_callable_documents_each_of_its_parameters() -> None:
    found = callables()
    assert len(found) > 300
    missing = {each.label: set(each.parameters) - each.documented.keys() for each in found}
    assert {label: names for label, names in missing.items() if names} == {}


def test_no_public_function_documents_a_parameter_that_it_does_not_have() -> None:
    for name, value in public_objects():
        members = [] if inspect.isfunction(value) else inspect.getmembers(value, inspect.isfunction)
        for label, function in [(name, value)] if inspect.isfunction(value) else members:
            if is_ours(function):
                known = inspect.signature(function).parameters.keys()
                assert entries(function, "Args").keys() <= known, f"{name}: {label}"


def test_the_docstring_of_a_public_callable_begins_with_one_line() -> None:
    assert [each.label for each in callables() if not each.summary or "\n" in each.summary] == []


def test_every_error_documents_each_of_its_attributes() -> None:
    errors = [value for _, value in public_objects() if inspect.isclass(value) and issubclass(value, DurableError)]
    assert len(errors) > 30
    for error in errors:
        own = inspect.getsource(error)
        attributes = set(re.findall(r"self\.(\w+) = ", own))
        assert attributes - entries(error, "Attributes").keys() == set(), error.__name__


def test_each_section_of_a_docstring_stands_once_and_in_order() -> None:
    """The reference shows one table a section, and readers look for the parameters first."""
    order = ["Args", "Attributes", "Returns", "Raises"]
    wrong: dict[str, list[str]] = {}
    for package in ("fastapi_durable", "prisma_inprocess"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    sections = re.findall(rf"^({'|'.join(order)}):$", ast.get_docstring(node) or "", re.MULTILINE)
                    if sections != [each for each in order if each in sections]:
                        wrong[f"{path.name}:{node.name}"] = sections
    assert wrong == {}
