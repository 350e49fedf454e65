"""Every file of the library stands on a floor, and imports only from its own floor or from those below it."""

import ast
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("fastapi_durable", "prisma_inprocess", "example_app")
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "common", "misc"}


def test_imports_keep_the_contracts_of_pyproject() -> None:
    """The contracts name every folder and loose file of the library, so a new one has to choose its floor."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_module_is_named_after_its_idea() -> None:
    """No module collects what found no place elsewhere."""
    modules = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    ours = [path for path in modules if "clients" not in path.parts]
    assert [path for path in ours if NAMES_THAT_SAY_NOTHING & {path.stem, *path.parts}] == []


MACHINE_TIME = {
    ("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow"), ("date", "today"),
    ("time", "time"), ("time", "time_ns"),
}  # fmt: skip


def test_only_the_clock_asks_the_machine_for_the_time() -> None:
    """Everybody else asks a `Clock`, so that a test can move the time."""
    found = [
        (str(path.relative_to(REPOSITORY)), node.lineno)
        for path in (REPOSITORY / "fastapi_durable").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in MACHINE_TIME
    ]
    assert {path for path, _ in found} == {"fastapi_durable/model/clock.py"}, found
