"""Every page whose Python blocks make one program is run, and prints what stands there."""

import contextlib
import io
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.migrations import REPOSITORY

DOCS = REPOSITORY / "docs"
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pages whose blocks are no program of their own, with the test that runs each of their blocks.
ELSEWHERE = {
    "primitives/": "test_primitives.py",
    "tutorial/": "test_tutorial.py",
    "migrations.md": "test_migrations.py",
    "how-to/console.md": "test_console.py",
    "how-to/monitor.md": "test_console.py",
    "how-to/listen.md": "test_console.py",
    "how-to/background-tasks.md": "test_tasks.py",
    "how-to/streams.md": "test_streams.py",
    "how-to/test.md": "test_testing.py",
    "how-to/test-a-store.md": "test_testing.py",
    "how-to/transactions.md": "test_transactions.py",
}


def pages() -> Iterator[str]:
    for path in sorted(DOCS.rglob("*.md")):
        name = str(path.relative_to(DOCS))
        kinds = {kind for kind, _ in _FENCE.findall(path.read_text(encoding="utf-8"))}
        if "python" in kinds and not name.startswith(tuple(ELSEWHERE)):
            yield name


PAGES = list(pages())


@pytest.fixture
def surroundings() -> Iterator[None]:
    """The environment, as it was before the page changed it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("surroundings")
def test_a_page_is_a_program_that_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    blocks = _FENCE.findall((DOCS / page).read_text(encoding="utf-8"))
    program = tmp_path / "page.py"
    program.write_text("\n\n".join(text for kind, text in blocks if kind == "python"), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(program), run_name="__main__")
    assert printed.getvalue() == "".join(text for kind, text in blocks if kind == "text")


def test_every_block_of_code_is_of_a_kind_that_tests_know() -> None:
    """A block of another kind would be run by no test."""
    known = {"python", "text", "console", "prisma", "toml", "bash", "http", "json", "ini", "html"}
    kinds = {
        (str(path.relative_to(DOCS)), kind)
        for path in DOCS.rglob("*.md")
        for kind, _ in _FENCE.findall(path.read_text(encoding="utf-8"))
    }
    assert {each for each in kinds if each[1] not in known} == set()
