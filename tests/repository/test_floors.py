"""Every file of the library stands on a floor, and imports only from its own floor or from those below it."""

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
