"""What keeps a version from being released is said."""

import re
import runpy
import subprocess
import sys

from tests.support.migrations import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "release.py"
problems = runpy.run_path(str(SCRIPT))["problems"]
version = runpy.run_path(str(SCRIPT))["version"]


def test_what_is_not_committed_keeps_a_version_from_being_released() -> None:
    assert "README.md is not committed" in problems("0.1.0", ["README.md"])


def test_a_version_is_three_numbers() -> None:
    assert "the version must be three numbers, got 0.1.0rc1" in problems("0.1.0rc1", [])


def test_a_version_has_a_dated_section_in_both_changelogs() -> None:
    """The sections of this commit are named, if any are missing."""
    for name, folder in (("fastapi_durable", REPOSITORY), ("prisma_inprocess", REPOSITORY / "prisma_inprocess")):
        changelog = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
        dated = re.search(rf"^## \[{re.escape(version())}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)
        missing = [each for each in problems("0.1.0", []) if name in each]
        assert bool(missing) is not bool(dated)


def test_a_tag_of_another_version_is_refused() -> None:
    for tag, code in ((f"v{version()}", 0), ("v999.0.0", 1)):
        done = subprocess.run([sys.executable, str(SCRIPT), "tag", tag], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout
