"""Everything that users can name has an entry in the reference, and every entry says what it is for."""

import argparse
import importlib
import inspect
import re
from pathlib import Path

import pytest

from book.api import MODULES, public_names
from book.commands import commands_of
from book.errors import errors
from book.http import routes
from book.metrics import metrics
from book.options import OPTIONS, module_options, options_of
from book.parts import PARTS, expanded, parts_of
from fastapi_durable import DurableOptions, DurableSettings
from fastapi_durable.__main__ import command_line
from fastapi_durable.observe import opentelemetry
from prisma_inprocess.__main__ import command_line as client_command_line
from tests.support.migrations import REPOSITORY
from tests.unit.test_public_face import PUBLIC

REFERENCE = REPOSITORY / "docs" / "reference"


def page(name: str) -> str:
    """A page as readers see it."""
    return expanded((REFERENCE / name).read_text(encoding="utf-8"))


def first_cells(text: str) -> set[str]:
    return set(re.findall(r"^\| \[?`([^`]+)`", text, re.MULTILINE))


def leaves(parser: argparse.ArgumentParser) -> set[str]:
    return {command.prog for command, _ in commands_of(parser)}


def test_every_part_is_in_a_page_and_every_page_knows_its_parts() -> None:
    used = set().union(*(parts_of(path.read_text(encoding="utf-8")) for path in (REPOSITORY / "docs").rglob("*.md")))
    assert used == PARTS.keys()


def test_the_api_has_the_public_modules() -> None:
    assert set(MODULES) == PUBLIC.keys() | {"prisma_inprocess", "prisma_inprocess.migrate"}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry_with_a_text(module: str) -> None:
    file = "index" if module == "fastapi_durable" else module.removeprefix("fastapi_durable.").replace(".", "-")
    text = page(f"api/{file}.md")
    names = public_names(module)
    assert [name for name in names if not re.search(rf"(::: |#){re.escape(module)}\.{name}\b", text)] == []
    objects = {name: getattr(importlib.import_module(module), name) for name in names}
    kinds = (type, type(lambda: None))
    assert [name for name, value in objects.items() if isinstance(value, kinds) and not inspect.getdoc(value)] == []


def test_every_option_has_an_entry_with_a_text() -> None:
    text = page("options.md")
    for name in OPTIONS:
        found = list(options_of(name))
        assert found, name
        assert [option for option, _, what in found if not what] == [], name
        assert {option for option, _, _ in found} <= first_cells(text), name
    assert {name for name, _, what in module_options() if what} == (
        DurableOptions.model_fields.keys() - DurableSettings.model_fields.keys()
    )


def test_every_setting_has_an_entry_with_its_default() -> None:
    text = page("settings.md")
    for name, field in DurableSettings.model_fields.items():
        (row,) = re.findall(rf"^\| `DURABLE_{name.upper()}` \| `{name}` \| (.*?) \| (.*) \|$", text, re.MULTILINE)
        default = "random" if field.default_factory else "none" if field.default is None else f"`{field.default}`"
        assert row == (default, field.description)


def test_every_error_has_an_entry() -> None:
    assert {name for name, _, what in errors() if what} == set(PUBLIC["fastapi_durable.errors"].split())
    assert first_cells(page("errors.md")) >= set(PUBLIC["fastapi_durable.errors"].split())


def test_every_metric_has_an_entry() -> None:
    text = page("metrics.md")
    found = list(metrics())
    assert [each.name for each in found if not (each.kind and each.help)] == []
    assert first_cells(text) >= {each.name for each in found}
    sources = [REPOSITORY / "fastapi_durable" / "observe", REPOSITORY / "fastapi_durable" / "web" / "exposition.py"]
    files = [path for source in sources for path in ([source] if source.is_file() else source.glob("*.py"))]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    assert set(re.findall(r'"(durable_\w+)"|# HELP (durable_\w+)', code))
    named = {one or other for one, other in re.findall(r'"(durable_\w+)"|# HELP (durable_\w+)', code)}
    assert named <= {each.name for each in found}


def test_every_instrument_of_opentelemetry_has_an_entry() -> None:
    code = Path(str(opentelemetry.__file__)).read_text(encoding="utf-8")
    instruments = set(re.findall(r'"(durable\.(?:runs?|step)\.[\w.]+)",', code))
    assert len(instruments) > 5
    assert instruments <= set(re.findall(r"`(durable\.[\w.]+)`", page("metrics.md")))


@pytest.mark.parametrize("program", ["fastapi-durable", "prisma-inprocess"])
def test_every_command_has_an_entry(program: str) -> None:
    parser = command_line() if program == "fastapi-durable" else client_command_line(program)
    named = set(re.findall(rf"^### `({program} [^`]+)`$", page("cli.md"), re.MULTILINE))
    assert named == leaves(parser)


def test_every_route_has_an_entry_with_a_text() -> None:
    found = list(routes())
    assert len(found) > 30
    assert [f"{each.method} {each.path}" for each in found if not each.summary] == []
    assert first_cells(page("http-api.md")) >= {f"{each.method} {each.path}" for each in found}


def test_the_troubleshooting_page_quotes_messages_that_exist() -> None:
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8").partition("## A run does not")[0]
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    code = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "fastapi_durable").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)
    assert quoted
    assert [each for each in quoted if any(part.strip() not in joined for part in each.split("…"))] == []
