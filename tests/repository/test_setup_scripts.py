"""Set-up says what is missing, and how to get it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.migrations import REPOSITORY


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the scripts and no environment."""
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _run(clone: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "scripts" / script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_without_a_venv_module_set_up_names_the_package_that_has_it(clone: Path) -> None:
    """Debian splits Python: the message names the package of the very version that was found."""
    python = _program(clone / "python", f'case "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')
    done = _run(clone, "create_venv", PYTHON=str(python))
    assert done.returncode == 1
    assert f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv" in done.stderr
    assert not (clone / ".venv").exists()


def test_without_a_new_enough_python_set_up_says_which_it_wants(clone: Path) -> None:
    """An old interpreter counts as none."""
    old = _program(clone / "python", "exit 1")
    done = _run(clone, "create_venv", PYTHON=str(old))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed and was not found" in done.stderr


def test_an_environment_that_works_is_left_alone(clone: Path) -> None:
    """Running set-up again creates nothing anew."""
    _program(clone / ".venv" / "bin" / "python", f'exec {sys.executable} "$@"')
    assert _run(clone, "create_venv", PYTHON="/nonexistent").returncode == 0


@pytest.mark.parametrize("system_node", ["exit 1", None])
def test_where_the_system_has_no_usable_node_the_environments_own_is_used(
    clone: Path, tmp_path: Path, system_node: str | None
) -> None:
    """A missing or too old Node.js is replaced by the one in .venv, for the command and whatever it starts."""
    system, own = tmp_path / "system", clone / ".venv" / "bin"
    for name in ("node", "npm"):
        if system_node is not None:
            _program(system / name, system_node)
        _program(own / name, "exit 0")
    for name in ("sh", "dirname"):
        found = shutil.which(name)
        assert found
        system.mkdir(exist_ok=True)
        (system / name).symlink_to(found)
    done = _run(clone, "with_node", "sh", "-c", "command -v node", PATH=str(system))
    assert done.stdout.strip() == str(own / "node")
