"""Every example of docs/primitives/ runs as it stands there."""

import ast
import asyncio
import inspect
import re
from datetime import timedelta
from pathlib import Path
from types import CodeType
from typing import Annotated, Any

import pytest
from fastapi import Depends
from pydantic import BaseModel

import fastapi_durable
from fastapi_durable import WorkflowService, errors
from fastapi_durable.app.runtime import StandaloneApplication
from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.injection import DependencyResolver
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import running_engine

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "primitives"
PAGES = [FOLDER / "index.md", *sorted(FOLDER.glob("[!i]*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
SECTION = re.compile(r"^#{2,3} (?P<title>[^\n]+)\n+```python\n(?P<code>.*?)```\n", re.MULTILINE | re.DOTALL)
EXAMPLES = {match["title"]: match["code"] for match in SECTION.finditer(TEXT)}


def shared_names() -> dict[str, Any]:
    """What every example may use: the first block, the package, and a few names that every module imports."""
    first = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert first is not None
    names: dict[str, Any] = {name: getattr(errors, name) for name in errors.__all__}
    names |= {name: getattr(fastapi_durable, name) for name in fastapi_durable.__all__}
    names |= {"Annotated": Annotated, "Any": Any, "BaseModel": BaseModel, "Depends": Depends, "asyncio": asyncio}
    names |= {"timedelta": timedelta, "__name__": __name__}
    exec(compiled(ast.parse(first[1]).body), names)  # noqa: S102 (the repository's own document)
    return names


def compiled(statements: list[ast.stmt]) -> CodeType:
    module = ast.Module(body=statements, type_ignores=[])
    code: CodeType = compile(module, str(FOLDER), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


def is_declaration(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


@pytest.mark.parametrize("title", EXAMPLES)
async def test_an_example_does_what_it_says(title: str) -> None:
    names, statements = shared_names(), ast.parse(EXAMPLES[title]).body
    exec(compiled([each for each in statements if is_declaration(each)]), names)  # noqa: S102 (as above)
    workflows = [value for value in names.values() if hasattr(value, "__durable_workflow__")]
    entities = [value for value in names.values() if isinstance(value, type) and hasattr(value, "__durable_entity__")]
    calls = [each for each in statements if not is_declaration(each)]
    assert calls, "the example shows no call"
    injector = DependencyResolver(StandaloneApplication())
    running = running_engine(MemoryStateStore(), *workflows, entities=entities, injector=injector)
    async with asyncio.timeout(60), running as service:
        names |= {"service": service, "gateway": service}
        done = eval(compiled(calls), names)  # noqa: S307 (as above)
        if inspect.iscoroutine(done):
            await done


def public_methods(cls: type) -> set[str]:
    return {name for name, value in inspect.getmembers(cls, callable) if not name.startswith("_")}


def test_every_primitive_has_an_example_that_says_what_it_costs_and_when_not_to_use_it() -> None:
    for title in EXAMPLES:
        section = TEXT.partition(f"## {title}\n")[2].partition("\n#")[0]
        assert [word for word in ("* Guarantees:", "* Not for:") if word not in section] == [], title
        if title.startswith("`"):
            assert "* Positions:" in section, title


@pytest.mark.parametrize(("receiver", "cls"), [("ctx", WorkflowContext), ("service", WorkflowService)])
def test_whatever_one_can_ask_for_is_named_in_a_title_and_used_in_its_example(receiver: str, cls: type) -> None:
    """A method that is new, and not documented, fails here."""
    used = {
        name
        for title, code in EXAMPLES.items()
        for name in re.findall(rf"`{receiver}\.(\w+)`", title)
        if re.search(rf"\b{receiver}\.{name}\(", code)
    }
    assert public_methods(cls) - used == set()
    assert used - public_methods(cls) == set(), "documented, but gone"


def test_every_option_of_a_workflow_is_documented() -> None:
    options = set(inspect.signature(workflow).parameters) - {"function", "name", "version"}
    assert {option for option in options if f"{option}=" not in TEXT} == set()
