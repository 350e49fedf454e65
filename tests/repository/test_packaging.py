"""What is declared and what is locked agree; and no file names one machine's surroundings."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.migrations import REPOSITORY

PYPROJECT: Final[dict[str, Any]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
CLIENT: Final[dict[str, Any]] = tomllib.loads((REPOSITORY / "prisma_inprocess" / "pyproject.toml").read_text("utf-8"))
"""The second distribution, which comes from here too and is in no lock."""
DECLARED: Final = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
RUNTIME: Final = [
    *(requirement for requirement in DECLARED if requirement.name != CLIENT["project"]["name"]),
    *(Requirement(line) for line in CLIENT["project"]["dependencies"]),
]
EXTRAS: Final = {
    extra: [Requirement(line) for line in lines]
    for extra, lines in PYPROJECT["project"]["optional-dependencies"].items()
}


def _locked(file: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (REPOSITORY / file).read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def _tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]


def test_the_python_lock_holds_every_dependency_in_a_version_that_is_allowed() -> None:
    """`make lock` was run after the last change of pyproject.toml."""
    locked = _locked("requirements/dev.txt")
    wrong = [
        str(requirement)
        for requirement in [*RUNTIME, *EXTRAS["test"]]
        if not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"))
    ]
    assert wrong == []


def test_the_lowest_lock_holds_the_lower_bound_of_every_dependency() -> None:
    """What `make lowest` tests is what pyproject.toml promises."""
    locked = _locked("requirements/lowest.txt")
    bounds = {
        canonicalize_name(requirement.name): clause.version.removesuffix(".*")
        for requirement in [*RUNTIME, *EXTRAS["cli"]]
        for clause in requirement.specifier
    }
    differing = {
        name: (bound, locked[name]) for name, bound in bounds.items() if Version(locked[name]) != Version(bound)
    }
    assert differing == {}


def test_the_lowest_lock_has_the_test_tools_of_the_other_one() -> None:
    """Only the versions that users may have differ."""
    locked, lowest = _locked("requirements/dev.txt"), _locked("requirements/lowest.txt")
    runtime = {canonicalize_name(requirement.name) for requirement in [*RUNTIME, *EXTRAS["cli"]]}
    tools = {canonicalize_name(requirement.name) for requirement in EXTRAS["test"]} - runtime
    assert {name: lowest.get(name) for name in tools} == {name: locked[name] for name in tools}


def test_the_node_lock_holds_the_extra() -> None:
    """The same for machines without Node.js."""
    (requirement,) = EXTRAS["node"]
    assert requirement.specifier.contains(_locked("requirements/node.txt")[requirement.name])


def test_the_npm_lock_holds_what_package_json_pins() -> None:
    """Exact versions, the same in both files."""
    declared = json.loads((REPOSITORY / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    locked = json.loads((REPOSITORY / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in declared} == declared


def test_the_two_distributions_fit_together() -> None:
    """The one needs the other in a version that is here, and both allow the same versions of what they share."""
    (needed,) = (requirement for requirement in DECLARED if requirement.name == CLIENT["project"]["name"])
    assert needed.specifier.contains(CLIENT["project"]["version"])
    assert CLIENT["project"]["requires-python"] == PYPROJECT["project"]["requires-python"]
    bounds: dict[str, set[str]] = {}
    for requirement in RUNTIME:
        bounds.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_every_dependency_is_justified() -> None:
    """docs/contributing/dependencies.md says in one line what each runtime dependency is for."""
    text = (REPOSITORY / "docs" / "contributing" / "dependencies.md").read_text(encoding="utf-8")
    assert [r.name for r in RUNTIME if f"| `{r.name}` |" not in text] == []


@pytest.mark.parametrize("package", ["fastapi_durable", "prisma_inprocess"])
def test_the_packages_say_that_they_are_typed(package: str) -> None:
    """Type checkers of users read our annotations."""
    assert (REPOSITORY / package / "py.typed").is_file()


def test_no_tracked_file_names_a_registry_or_a_machine() -> None:
    """Locks and documents hold versions and hashes; where packages come from is each machine's own affair."""
    forbidden = re.compile(
        r'"resolved": *"https?://|registry *= *"?https?://|--(?:extra-)?index-url|files\.pythonhosted|/(?:home|work|root)/\w'
    )
    here = Path(__file__)
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for path in _tracked_files()
        if path != here and (match := forbidden.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert found == []


def test_nothing_generated_is_tracked() -> None:
    """Clients and WebAssembly come from set-up, never from the repository."""
    generated = [
        str(path.relative_to(REPOSITORY))
        for path in _tracked_files()
        if path.suffix in {".wasm", ".cwasm", ".db"} or "example_app/clients/" in path.as_posix()
    ]
    assert generated == []
