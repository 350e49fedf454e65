"""Print the test tools as requirements pinned to the lock: `make lock` puts them beside the lowest runtime versions."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print one requirement a line."""
    project = _project(REPOSITORY)
    client = _project(REPOSITORY / "prisma_inprocess")["dependencies"]
    extras = project["optional-dependencies"]
    lock = (REPOSITORY / "requirements" / "dev.txt").read_text(encoding="utf-8")
    locked = {canonicalize_name(name): pin for name, pin in re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, re.MULTILINE)}
    for name in sorted(
        _names(extras["test"]) - _names(project["dependencies"]) - _names(client) - _names(extras["cli"])
    ):
        print(f"{name}=={locked[name]}")
    return 0


def _project(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return content


def _names(lines: list[str]) -> set[NormalizedName]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


if __name__ == "__main__":
    sys.exit(main())
