"""The rig itself, for some seconds: what `make chaos` does for minutes."""

import subprocess
import sys

import pytest

from tests.support.migrations import REPOSITORY


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_a_short_chaos_loses_nothing_and_does_nothing_twice(database: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.chaos", "--database", database]
    done = subprocess.run(
        [*command, "--seconds", "6", "--workers", "2", "--customers", "8"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, duplicated 0, stuck 0, failed 0" in done.stdout
