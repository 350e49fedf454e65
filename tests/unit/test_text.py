"""Texts of objects of other code, which may have none."""

import re
from pathlib import Path

import pytest

import fastapi_durable
from fastapi_durable.model.text import shown


class Silent:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [("x" * 100, "'" + "x" * 79), (7, "7"), (10**5000, "int (its text cannot"), (Silent(), "Silent (its text cannot")],
    ids=["long", "short", "too many digits", "raises"],
)
def test_whatever_a_message_refuses_can_be_shown(value: object, text: str) -> None:
    """A refusal that raises something else is a fault of the library, not of its caller."""
    assert shown(value).startswith(text)
    assert len(shown(value)) <= 80


def test_no_message_shortens_a_representation_by_itself() -> None:
    """`{value!r:.80}` raises for what `shown` can show."""
    sources = Path(fastapi_durable.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if re.search(r"![rs]:\.", path.read_text())] == []
