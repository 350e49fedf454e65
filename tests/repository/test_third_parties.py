"""What the packages import is declared, and what is declared is used."""

import re
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest

from tests.repository.third_parties import Declarations, ThirdPartyImport, third_party_imports
from tests.support.migrations import REPOSITORY

PYPROJECT: Final = """
[project]
dependencies = ["fastapi>=0.115"]
[project.optional-dependencies]
cli = ["rich>=13.9"]
[tool.fastapi-durable.extra-folders]
cli = ["fastapi_durable/terminal"]
"""


@cache
def _imports(root: Path) -> list[ThirdPartyImport]:
    return list(third_party_imports(root))


def _undeclared(root: Path) -> list[str]:
    declared = Declarations.read(root)
    return [
        str(each)
        for each in _imports(root)
        if not each.distributions or not each.distributions <= declared.allowed(each.file)
    ]


def _too_early(root: Path) -> list[str]:
    declared = Declarations.read(root)
    # The conformance suites are modules for those who test: an import contract keeps the library from them.
    suites = ("fastapi_durable/store/contract/", "fastapi_durable/transport/contract/")
    early = [each for each in _imports(root) if each.at_import and not each.file.startswith(suites)]
    return [str(each) for each in early if not each.distributions <= declared.runtime_of(each.file)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that declares FastAPI, and Rich for its terminal."""
    _write(tmp_path, "pyproject.toml", PYPROJECT)
    _write(tmp_path, "prisma_inprocess/pyproject.toml", '[project]\ndependencies = ["asyncpg>=0.30"]\n')
    return tmp_path


def _write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _imports_zoneinfo(root: Path) -> bool:
    texts = (path.read_text(encoding="utf-8") for path in (root / "fastapi_durable").rglob("*.py"))
    return any("from zoneinfo import" in text for text in texts)


def test_every_import_of_a_third_party_is_declared() -> None:
    """A package that only comes along with another one may stay away with the next version of that one."""
    assert _undeclared(REPOSITORY) == []


def test_what_an_extra_brings_is_imported_when_it_is_used() -> None:
    """Without the extra, the library and its other commands work."""
    assert _too_early(REPOSITORY) == []


def test_every_runtime_dependency_is_used() -> None:
    """It is imported, or the README calls its command; `tzdata` is imported by Python's own `zoneinfo`.

    The client is the other distribution of this repository: wake-ups and the command line import it. FastAPI's command
    line is asked for by FastAPI's own command.
    """
    imported = {name for each in _imports(REPOSITORY) for name in each.distributions} | {"prisma-inprocess"}
    if _imports_zoneinfo(REPOSITORY):
        imported.add("tzdata")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    if re.search(r"^ *fastapi dev$", readme, re.MULTILINE):
        imported.add("fastapi-cli")
    unused = [
        name
        for name in frozenset().union(*Declarations.read(REPOSITORY).runtime.values()) - imported
        if not any(
            re.search(rf"^ *{re.escape(command.name)} ", readme, re.MULTILINE)
            for command in distribution(name).entry_points.select(group="console_scripts")
        )
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("path", "text", "finding"),
    [
        ("fastapi_durable/model.py", "import orjson\n", "fastapi_durable/model.py:1: orjson (of orjson)"),
        (
            "fastapi_durable/model.py",
            "def f():\n    from pydantic_core import core_schema\n",
            "fastapi_durable/model.py:2: pydantic_core (of pydantic-core)",
        ),
        (
            "prisma_inprocess/client.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import starlette.requests\n",
            "prisma_inprocess/client.py:3: starlette.requests (of starlette)",
        ),
        (
            "fastapi_durable/model.py",
            "from opentelemetry import trace\n",
            "fastapi_durable/model.py:1: opentelemetry (of opentelemetry-api)",
        ),
        ("fastapi_durable/model.py", "import asyncpg\n", "fastapi_durable/model.py:1: asyncpg (of asyncpg)"),
        ("fastapi_durable/model.py", "import rich\n", "fastapi_durable/model.py:1: rich (of rich)"),
        (
            "fastapi_durable/terminal/table.py",
            "import httpx\n",
            "fastapi_durable/terminal/table.py:1: httpx (of httpx)",
        ),
        ("fastapi_durable/model.py", "import unheard_of\n", "fastapi_durable/model.py:1: unheard_of (of nobody)"),
    ],
)
def test_an_undeclared_import_is_found_wherever_it_stands(project: Path, path: str, text: str, finding: str) -> None:
    """The finding names the file, the line and the distribution to declare."""
    _write(project, path, text)
    assert _undeclared(project) == [finding]


def test_declared_imports_pass(project: Path) -> None:
    """Those of the standard library and of our own packages are no third party's."""
    _write(project, "fastapi_durable/model.py", "import json\nimport prisma_inprocess\nfrom fastapi.routing import x\n")
    _write(project, "fastapi_durable/terminal/table.py", "from . import api\ndef f():\n    import rich.table\n")
    assert _undeclared(project) == []
    assert _too_early(project) == []


@pytest.mark.parametrize("text", ["import rich\n", "try:\n    import rich\nexcept ImportError:\n    rich = None\n"])
def test_an_extra_that_the_import_of_a_file_needs_is_found(project: Path, text: str) -> None:
    """A function or a type checker may import it."""
    _write(project, "fastapi_durable/terminal/table.py", text)
    assert len(_too_early(project)) == 1


def test_of_a_namespace_the_distribution_counts_that_has_the_module(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several distributions share `opentelemetry`: the API's declaration does not cover the SDK."""
    site = tmp_path / "site"
    for name, module in (("space-api", "trace"), ("space-sdk", "export")):
        _write(site, f"outer_space/{module}.py", "")
        metadata = f"{name.replace('-', '_')}-1.dist-info"
        _write(site, f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        _write(site, f"{metadata}/RECORD", f"outer_space/{module}.py,,\n")
    monkeypatch.syspath_prepend(site)
    _write(project, "fastapi_durable/model.py", "from outer_space import trace\nimport outer_space.export\n")
    assert [sorted(each.distributions) for each in _imports(project)] == [["space-api"], ["space-sdk"]]
