"""The unit, engine and integration tests, and the client's, beside other versions: `make lowest` and `make matrix`.

`lowest` takes the oldest Python and the oldest packages that pyproject.toml allows (`requirements/lowest.txt`);
a version of Python, such as 3.13, takes the packages of the lock. Each has an environment of its own in `.make`.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECTS = (REPOSITORY, REPOSITORY / "prisma_inprocess")
# What each run of pytest is given; the slow tests of the client wait for servers that are silent.
SUITES = (
    ("tests/unit", "tests/engine", "tests/integration"),
    ("tests/prisma_inprocess", "-m", "not slow and not node"),
)


@dataclass(frozen=True)
class Target:
    """What the tests run beside: a name, a version of Python ("3.13"), and a lock."""

    name: str
    version: str
    lock: Path


def main() -> int:
    """Run the tests beside each target, then say the result of every one; 1 if the tests failed beside any."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("targets", nargs="+", help="`lowest`, or versions of Python")
    parser.add_argument("--optional", action="store_true", help="pass without a Python that is not found, if one is")
    parser.add_argument("--pytest", nargs=argparse.REMAINDER, default=[], help="what follows goes to pytest")
    arguments = parser.parse_args()
    outcomes: dict[str, str] = {}
    ran = failed = 0
    for target in map(_target, arguments.targets):
        python = find_python(target.version)
        if python is None:
            outcomes[target.name] = f"not run: {looked_for(target.version)}"
            failed += not arguments.optional
            continue
        begin = time.monotonic()
        passed = _run_tests(_environment(target, python), arguments.pytest)
        outcomes[target.name] = f"{'passed' if passed else 'FAILED'} in {time.monotonic() - begin:.0f} s ({python})"
        ran += 1
        failed += not passed
    for name, outcome in outcomes.items():
        print(f"{name:8} {outcome}", flush=True)
    return 0 if ran and not failed else 1


def find_python(version: str) -> Path | None:
    """Return an interpreter of this version that runs and can make environments: from PATH, or else from pyenv."""
    return next((python for python in _candidates(version) if _is_usable(python, version)), None)


def looked_for(version: str) -> str:
    """Return what was not found, and what to do."""
    return f"no python{version} with a venv module on PATH or in pyenv. Install one, or leave {version} out of PYTHONS"


def _target(name: str) -> Target:
    if name == "lowest":
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        version = project["requires-python"].removeprefix(">=")
        return Target(name, version, REPOSITORY / "requirements" / "lowest.txt")
    if not re.fullmatch(r"3\.\d+", name):
        raise SystemExit(f"a target must be `lowest` or a version such as 3.13, got {name!r}")
    return Target(name, name, REPOSITORY / "requirements" / "dev.txt")


def _candidates(version: str) -> Iterator[Path]:
    for folder in os.get_exec_path():
        yield Path(folder, f"python{version}")
    if pyenv := shutil.which("pyenv"):
        listed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, timeout=60, check=False)
        patches = [int(line.rpartition(".")[2]) for line in listed.stdout.split() if _is_patch_of(line, version)]
        for patch in sorted(patches, reverse=True):
            command = [pyenv, "prefix", f"{version}.{patch}"]
            prefix = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
            yield Path(prefix, "bin", "python")


def _is_patch_of(line: str, version: str) -> bool:
    return re.fullmatch(rf"{re.escape(version)}\.\d+", line) is not None


def _is_usable(python: Path, version: str) -> bool:
    # A shim of pyenv stands on PATH for every version that is installed, and runs only those that are switched on.
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def _environment(target: Target, python: Path) -> Path:
    """Make the target's environment unless it is there already with what is locked now; return its interpreter."""
    folder = REPOSITORY / ".make" / f"python-{target.name}"
    inside, remembered = folder / "bin" / "python", folder / ".installed"
    declared = b"".join((project / "pyproject.toml").read_bytes() for project in PROJECTS)
    wanted = hashlib.sha256(target.lock.read_bytes() + declared + str(python).encode()).hexdigest()
    if remembered.exists() and remembered.read_text(encoding="utf-8") == wanted:
        return inside
    print(f"{target.name}: installing {target.lock.relative_to(REPOSITORY)} with {python}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip: list[str | Path] = [inside, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Wheels only: what has none for this Python is not supported by its makers, and would be built for minutes.
    subprocess.run([*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", target.lock], check=True)
    editable = [word for project in PROJECTS for word in ("--editable", project)]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", *editable], check=True)
    remembered.write_text(wanted, encoding="utf-8")
    return inside


def _run_tests(python: Path, arguments: list[str]) -> bool:
    passed = True
    for suite in SUITES:
        print(f"{python.relative_to(REPOSITORY)}: {' '.join(suite)}", flush=True)
        done = subprocess.run([python, "-m", "pytest", *suite, *arguments], cwd=REPOSITORY, check=False)
        passed = passed and done.returncode == 0
    return passed


if __name__ == "__main__":
    sys.exit(main())
