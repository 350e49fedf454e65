"""What the documents promise is there, in the versions that are used."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from fastapi_durable.terminal.project.templates import main
from tests.support.migrations import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
TESTS = (REPOSITORY / "docs" / "contributing" / "tests.md").read_text(encoding="utf-8")
IGNORED = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").split()
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def test_the_readme_shows_the_application_that_init_writes() -> None:
    assert f"```python\n{main('prisma_client', 'DATABASE_URL')}```" in README


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/contributing/tests.md", "docs/contributing/dependencies.md"]
)
def test_every_make_command_that_is_named_exists(document: str) -> None:
    """`make x` in a document is a target of the Makefile."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ +|; )make ([a-z][a-z-]*)", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    assert named
    assert named <= targets


def test_the_readme_shows_the_three_commands() -> None:
    """A newcomer finds how to run, test and see it."""
    assert [command for command in ("make run", "make test", "make demo") if f"`{command}`" not in README] == []


def test_every_link_of_the_documents_leads_somewhere() -> None:
    """Links between files of the repository are not broken."""
    broken = [
        (document.name, target)
        for document in REPOSITORY.glob("*.md")
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []


def folders(parent: Path) -> Iterator[Path]:
    """Those of the repository itself, without what set-up and tools leave behind."""
    for path in parent.iterdir():
        left_behind = path.name.startswith(".") or any(fnmatch(f"{path.name}/", each) for each in IGNORED)
        if path.is_dir() and not left_behind:
            yield path


def test_the_layout_lists_every_folder() -> None:
    """A newcomer finds what each folder is for; one that is gone is not listed any more."""
    layout = CONTRIBUTING.partition("## Layout\n")[2].partition("\n## ")[0]
    folders_of_tests = TESTS.partition("## Folders\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", layout + folders_of_tests, re.MULTILINE)
    listed = {REPOSITORY / name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert listed == {*folders(REPOSITORY), *folders(REPOSITORY / "tests")}
