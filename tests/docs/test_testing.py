"""The examples of docs/how-to/test.md and test-a-store.md, which are tests themselves, pass as they stand there."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends

import fastapi_durable
from fastapi_durable import testing

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "how-to"
TEXT = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("test.md", "test-a-store.md"))
ALL_BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
MODULES = [block for block in ALL_BLOCKS if "import pytest" in block]
BLOCKS = [block for block in ALL_BLOCKS if block not in MODULES]
TESTS = re.findall(r"^async def (test_\w+)", "".join(BLOCKS), re.MULTILINE)


def names() -> dict[str, Any]:
    """What the document defines, with what its examples use."""
    found: dict[str, Any] = {name: getattr(fastapi_durable, name) for name in fastapi_durable.__all__}
    found |= {name: getattr(testing, name) for name in testing.__all__}
    found |= {"Annotated": Annotated, "Any": Any, "AsyncIterator": AsyncIterator, "Depends": Depends, "Path": Path}
    found |= {"asynccontextmanager": asynccontextmanager, "__name__": __name__}
    for block in BLOCKS:
        exec(block, found)  # noqa: S102 (the repository's own document)
    return found


@pytest.mark.parametrize("test", TESTS)
async def test_an_example_passes(test: str, tmp_path: Path) -> None:
    found = names()
    recorded = tmp_path / "deliver-1.json"
    await found["record"](recorded)
    await (found[test](recorded) if "recorded" in found[test].__annotations__ else found[test]())


def test_a_module_of_tests_passes_as_it_stands_there(tmp_path: Path) -> None:
    """Both suites, with no other plugin than anyio's, in a project that has nothing else."""
    (module,) = MODULES
    (tmp_path / "test_mine.py").write_text(module)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-W", "error", "--rootdir", str(tmp_path)]
    finished = subprocess.run(
        [*command, "test_mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    summary = re.search(r"^(\d+) passed in", finished.stdout, re.MULTILINE)
    assert summary is not None, finished.stdout
    assert int(summary[1]) > 200
