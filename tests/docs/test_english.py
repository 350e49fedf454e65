"""Pages, messages, docstrings and comments are free of the words that once made them hard to read."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_docstrings import callables, public_objects
from tests.support.migrations import REPOSITORY

# Each has a plain counterpart: again, without end, the worker that ..., no run, continues, learns of.
AVOIDED = re.compile(
    r"\b(anew|for ever|whoever|whomever|nobody|somebody|go(?:es)? on|went on|gone on|(?:is|are|was) told)\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    path
    for path in sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
    if "decisions" not in path.parts and path.name != "CHANGELOG.md"
]


def messages(path: Path) -> Iterator[str]:
    """The texts of a file, without those that describe what stands before or after them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    descriptions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in descriptions:
            yield node.value


def comments_and_docstrings(path: Path) -> Iterator[str]:
    """What a file says to those who read its code."""
    text = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_page_avoids_them(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    assert [match[0] for match in AVOIDED.finditer(text)] == []


@pytest.mark.parametrize("package", ["fastapi_durable", "prisma_inprocess"])
def test_messages_avoid_them(package: str) -> None:
    files = [path for path in (REPOSITORY / package).rglob("*.py") if "suite" not in path.parts]
    found = {path.name: [text for text in messages(path) if AVOIDED.search(text)] for path in files}
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("package", ["fastapi_durable", "prisma_inprocess"])
def test_comments_and_docstrings_avoid_them(package: str) -> None:
    files = (REPOSITORY / package).rglob("*.py")
    found = {path.name: [text for text in comments_and_docstrings(path) if AVOIDED.search(text)] for path in files}
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_the_dashboard_avoids_them() -> None:
    scripts = (REPOSITORY / "fastapi_durable" / "web" / "dashboard").glob("*.js")
    code = {path.name: re.sub(r"//.*", "", path.read_text(encoding="utf-8")) for path in scripts}
    found = {name: re.findall(r"[\"'`][^\"'`\n]* [^\"'`\n]*[\"'`]", text) for name, text in code.items()}
    assert {name: hits for name, texts in found.items() if (hits := [t for t in texts if AVOIDED.search(t)])} == {}


def test_public_docstrings_avoid_them() -> None:
    of_callables = {each.label: " ".join([each.summary, *each.documented.values()]) for each in callables()}
    of_objects = {name: inspect.getdoc(value) or "" for name, value in public_objects()}
    found = {name: AVOIDED.findall(text) for name, text in (of_callables | of_objects).items()}
    assert {name: words for name, words in found.items() if words} == {}
