"""The tests beside other versions find interpreters wherever people have them, and say which they did not find."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.migrations import REPOSITORY

SCRIPT: Final = REPOSITORY / "scripts" / "compatibility.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """PATH has two folders, both empty, before those of the system's shell."""
    folders = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    return folders


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def _python(path: Path, version: str) -> Path:
    return _program(path, f"echo {version}")


def test_a_shim_that_runs_nothing_is_passed_over(script: dict[str, Any], path: tuple[Path, Path]) -> None:
    """Version managers put a name on PATH for every version, whether it is switched on or not."""
    _program(path[0] / "python3.13", "echo 'command not found' >&2; exit 127")
    python = _python(path[1] / "python3.13", "3.13")
    assert script["find_python"]("3.13") == python


def test_an_interpreter_of_another_version_is_passed_over(script: dict[str, Any], path: tuple[Path, Path]) -> None:
    """Its name does not count."""
    _python(path[0] / "python3.13", "3.12")
    assert script["find_python"]("3.13") is None


def test_pyenv_is_asked_for_its_newest_patch(script: dict[str, Any], path: tuple[Path, Path], tmp_path: Path) -> None:
    """3.13.10 is newer than 3.13.9."""
    newest = _python(tmp_path / "3.13.10" / "bin" / "python", "3.13")
    _python(tmp_path / "3.13.9" / "bin" / "python", "3.13")
    versions = "echo 3.13.9; echo 3.13.10; echo 3.1.3; echo 3.13.9/envs/mine"
    _program(path[0] / "pyenv", f'case "$1" in versions) {versions};; prefix) echo {tmp_path}/"$2";; esac')
    assert script["find_python"]("3.13") == newest


@pytest.mark.parametrize("optional", [[], ["--optional"]])
def test_a_run_without_any_interpreter_fails_and_names_it(optional: list[str]) -> None:
    """To run no test is not to pass."""
    done = subprocess.run([sys.executable, SCRIPT, "3.99", *optional], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "3.99     not run: no python3.99 with a venv module on PATH or in pyenv" in done.stdout


def test_a_target_that_does_not_exist_is_refused() -> None:
    """With what it may be."""
    done = subprocess.run([sys.executable, SCRIPT, "newest"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a target must be `lowest` or a version such as 3.13, got 'newest'" in done.stderr


def test_lowest_is_the_oldest_python_that_is_allowed(script: dict[str, Any]) -> None:
    """And its own lock."""
    target = script["_target"]("lowest")
    assert target.version == "3.11"
    assert target.lock.name == "lowest.txt"
