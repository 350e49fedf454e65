"""Say whether the repository can be released: `make release` calls it, and a person signs the list off.

`release.py check` compares versions and changelogs; `release.py sign-off` prints what people have to look at;
`release.py tag v0.2.0` refuses a tag of another version.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECTS = {"fastapi_durable": REPOSITORY, "prisma_inprocess": REPOSITORY / "prisma_inprocess"}
SIGN_OFF = (
    "the changelogs name every change that users notice, under the new version and its date",
    "a migration is needed: the changelog says so, and docs/how-to/upgrade.md still holds",
    "`make crashes` and `make chaos` passed on this commit",
    "`make lowest` and `make matrix` passed on this commit",
    "`make bench` shows no cell that became slower by more than a tenth",
    "a person went through docs/tutorial/ with the wheels of dist/, on a machine without this repository",
)


def main() -> int:
    """Do what the first argument says, and return the exit code."""
    match sys.argv[1:]:
        case ["check"]:
            found = problems(version(), _changed_files())
        case ["tag", tag]:
            found = [] if tag == f"v{version()}" else [f"the tag must be v{version()}, got {tag}"]
        case ["sign-off"]:
            print(f"fastapi_durable {version()}: sign these off before you tag v{version()}")
            print("\n".join(f"[ ] {line}" for line in SIGN_OFF))
            found = []
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


def problems(released: str, changed: list[str]) -> list[str]:
    """Return what keeps this version from being released, one line each.

    Args:
        released: The version of the library.
        changed: Files that differ from the commit.
    """
    found = [f"{path} is not committed" for path in changed]
    for name, folder in PROJECTS.items():
        own = _project(folder)["version"]
        changelog = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
        if not re.search(rf"^## \[{re.escape(own)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.MULTILINE):
            found.append(f"the changelog of {name} must have a section `## [{own}] - <date>`")
    if not re.fullmatch(r"\d+\.\d+\.\d+", released):
        found.append(f"the version must be three numbers, got {released}")
    return found


def version() -> str:
    """Return the version of the library."""
    text: str = _project(REPOSITORY)["version"]
    return text


def _project(folder: Path) -> dict[str, str]:
    content: dict[str, str] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return content


def _changed_files() -> list[str]:
    command = ["git", "status", "--porcelain"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [line[3:] for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
