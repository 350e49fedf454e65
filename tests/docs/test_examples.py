"""Each example runs as a program of its own, and prints what its first lines say."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.migrations import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_prints_what_it_says(example: Path) -> None:
    said = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8")), clean=True)
    assert said is not None
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == dedent(said.partition("It prints:\n\n")[2]).strip()


def test_the_list_has_every_example() -> None:
    listed = re.findall(r"^\| \[(\w+\.py)\]", (REPOSITORY / "examples" / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == [path.name for path in EXAMPLES]
