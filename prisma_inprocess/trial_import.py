"""The generated package, imported in a fresh process before it takes the place of the old one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from prisma_inprocess.errors import GenerationError

# Building hundreds of models takes seconds, and machines are busy.
_LIMIT: Final = 300.0
# Imported under another name, because the folder may have the name of a module of the standard library.
_SCRIPT: Final = """
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "generated_client", folder + "/__init__.py", submodule_search_locations=[folder]
)
client = sys.modules["generated_client"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)
from generated_client import _declared_types, models
from generated_client.metadata import PRISMA_MODELS
for name in PRISMA_MODELS:
    getattr(models, name).model_rebuild()
"""


def try_import(package: Path, output: Path) -> None:
    """Import a package with all its types and models.

    Args:
        package: The package's folder.
        output: The final folder, for the message.

    Raises:
        GenerationError: The import fails or takes longer than five minutes; it says why.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(  # noqa: S603 (this Python, with a script of ours)
            [sys.executable, "-c", _SCRIPT, str(package)],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failure(output, f"its import takes longer than {_LIMIT:g} seconds") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _failure(output, lines[-1].strip() if lines else f"the process ended with status {done.returncode}")


def _failure(output: Path, reason: str) -> GenerationError:
    return GenerationError(
        f"the generated client cannot be imported: {reason}. {output} is as it was before. Rename what the reason "
        "names in the schema (@map and @@map keep the names in the database), or check the installed packages"
    )
