"""What docs/architecture.md and docs/decisions/ say of the code is true: floors, files, functions, tests, statuses."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fastapi_durable.model.records import LIVE_STATUSES, RunStatus
from tests.support.migrations import REPOSITORY
from tests.unit.test_public_face import PUBLIC

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
LAYERS = {each["containers"][0]: each["layers"] for each in CONTRACTS if each["type"] == "layers"}
DOCUMENTS = [DOCS / "architecture.md", *sorted((DOCS / "decisions").glob("*.md"))]

FLOOR = re.compile(r"^ *│ {2}(?P<packages>[\w ]+?) *│", re.MULTILINE)
ROW = re.compile(r"^\| (.*) \|$", re.MULTILINE)
NAMED_FILE = re.compile(r"`(?P<path>[\w.-]+(?:/[\w.-]+)*\.(?:py|md|svg|json)|(?:[\w.-]+/)+)`")
NAMED_FUNCTION = re.compile(r"`(?P<path>[\w./-]+\.py)`(?:\]\([^)]*\))?(?P<names>(?:,? `\w+`)+)(?![./])")
OUTSIDE_THE_LIBRARY = ("fastapi_durable/", "tests/", "docs/", "prisma_inprocess/", "example_app/")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def table(text: str, header: str) -> list[list[str]]:
    """The cells of the table that begins with this header."""
    rows = ROW.findall(text.partition(f"{header}\n")[2].partition("\n\n")[0])
    assert rows, f"no table begins with {header}"
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


def place(path: str) -> Path:
    """The file that a document means."""
    return REPOSITORY / path if path.startswith(OUTSIDE_THE_LIBRARY) else REPOSITORY / "fastapi_durable" / path


def functions_of(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)}


def relative(document: Path) -> str:
    return str(document.relative_to(DOCS))


@pytest.mark.parametrize(
    ("title", "container"),
    [("The floors", "fastapi_durable"), ("The floors of the engine", "fastapi_durable.engine")],
)
def test_the_floors_of_the_page_are_those_of_the_import_contracts(title: str, container: str) -> None:
    """Drawn in the same order, with the same packages on each; and each package is explained in the table."""
    contracted = [sorted(layer.split(" | ")) for layer in LAYERS[container]]
    drawn = [sorted(floor.split()) for floor in FLOOR.findall(section(title))]
    assert drawn == contracted
    explained = [name.strip("`") for name, *_ in table(section(title), "| Package | What it holds |")]
    assert explained == [name for layer in LAYERS[container] for name in layer.split(" | ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_file_that_is_named_exists(document: Path) -> None:
    paths = {match["path"] for match in NAMED_FILE.finditer(document.read_text(encoding="utf-8"))}
    assert [path for path in sorted(paths) if not place(path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_function_and_every_test_that_is_named_is_in_its_file(document: Path) -> None:
    """A name behind a file's name is a function or class of that file."""
    missing = [
        (match["path"], name)
        for match in NAMED_FUNCTION.finditer(document.read_text(encoding="utf-8"))
        for name in re.findall(r"`(\w+)`", match["names"])
        if name not in functions_of(place(match["path"]))
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_link_leads_to_a_file_or_a_title(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", text)
    assert [path for path, _ in links if path and not (document.parent / path).exists()] == []
    titles = {f"#{title.lower().replace(' ', '-')}" for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert [anchor for path, anchor in links if not path and anchor not in titles] == []
    named = re.findall(r"\[`([^`]+)`\]\(([^)]*)\)", text)
    assert [path for path, link in named if (document.parent / link).resolve() != place(path).resolve()] == []


def test_every_invariant_names_tests_that_try_to_break_it() -> None:
    rows = table(section("Invariants"), "| | Invariant | Tests |")
    assert [number for number, *_ in rows] == [str(number) for number in range(1, 15)]
    for number, _, tests in rows:
        named = [name for match in NAMED_FUNCTION.finditer(tests) for name in re.findall(r"`(\w+)`", match["names"])]
        assert len(named) >= 2, f"invariant {number}"
        assert [name for name in named if not name.startswith("test_")] == []


def moves(rows: list[list[str]]) -> set[tuple[str, str]]:
    return {(old, new.strip("`")) for froms, new, *_ in rows for old in re.findall(r"`(\w+)`", froms)}


def drawn_moves() -> Iterator[tuple[str, str]]:
    for element in ElementTree.parse(DOCS / "run-statuses.svg").iter():  # noqa: S314 (the repository's own picture)
        for old in element.get("data-from", "").split():
            yield old, element.attrib["data-to"]


def test_the_picture_of_a_runs_life_shows_the_moves_of_the_table() -> None:
    """`test_run_statuses` holds the table to what runs do."""
    listed = moves(table(section("The life of a run"), "| From | To | When | Where |"))
    assert set(drawn_moves()) == listed
    assert {status for move in listed for status in move} - {"new"} == set(RunStatus)


def test_every_status_is_explained_the_live_ones_first() -> None:
    rows = table(section("The life of a run"), "| Status | Meaning |")
    explained = [status.strip("`") for status, _ in rows]
    assert sorted(explained) == sorted(RunStatus)
    assert set(explained[:5]) == LIVE_STATUSES


def test_the_public_modules_are_named() -> None:
    first, _, _ = section("Public and internal").partition("What they list")
    assert set(re.findall(r"`(fastapi_durable[\w.]*)`", first)) == PUBLIC.keys()


def test_the_glossary_explains_each_word_in_one_sentence() -> None:
    rows = table(section("Glossary"), "| Word | Meaning |")
    words = [word for word, _ in rows]
    assert words == sorted(set(words))
    assert [word for word, meaning in rows if not meaning.endswith(".") or ". " in meaning] == []


def test_the_index_lists_every_decision() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", index)
    assert listed == [path.name for path in DOCUMENTS if path.parent.name == "decisions" and path.name != "README.md"]


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=relative)
def test_a_decision_has_the_four_parts_and_is_short(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    if document.name != "README.md":
        parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "When to reconsider"]
    assert len(text.splitlines()) <= 50
