"""The table of docs/concepts/values.md: every row is stored and read on every store, and shows what comes back.

`python -m tests.engine.test_storable_types` writes the table anew.
"""

import dataclasses
import enum
import math
import re
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, Field, SecretStr, field_serializer, field_validator

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import RunFailedError
from fastapi_durable.model.records import CheckpointStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import running_engine
from tests.support.stores import on_every_store

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "values.md"


class Order(BaseModel):
    cents: int


class GiftOrder(Order):
    message: str = ""


class Hidden(BaseModel):
    note: str = Field(default="", exclude=True)


class Loose(BaseModel):
    value: Any = None


@dataclasses.dataclass
class Point:
    x: float


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    left: int
    right: str


class Row(NamedTuple):
    """A row of the table: how it is written there, the declared type, and a value."""

    written: str
    declared: Any
    value: Any


ROWS = [
    Row("`int`, up to 63 bits and a sign", int, 2**63 - 1),
    Row("`int` beyond that, as the whole value", int, 2**63),
    Row("`int` beyond that, inside another value", list[int], [2**63, 10**400]),
    Row("`float`", float, 0.1),
    Row("`float`: NaN or infinity", float, math.nan),
    Row("`bool`", bool, True),
    Row("`str`", str, "café"),
    Row("`str` with NUL", str, "a\x00b"),
    Row("`str` with a lone surrogate", str, "caf\udce9"),
    Row("`bytes` that are UTF-8", bytes, b"text"),
    Row("`bytes` that are not UTF-8", bytes, b"\xff"),
    Row("`None`", None, None),
    Row("`None` where it is not declared", int, None),
    Row(
        "`list`, `tuple`, `set`, `dict` of declared types",
        tuple[list[int], set[str], dict[int, str]],
        ([1], {"a"}, {1: "a"}),
    ),
    Row('`dict` with the keys `1` and `"1"`', dict[Any, str], {1: "a", "1": "b"}),
    Row("`dict` with tuples as keys", dict[tuple[int, int], int], {(1, 2): 3}),
    Row("`Decimal`", Decimal, Decimal("1.10")),
    Row(
        "`datetime`, `date`, `time`, `timedelta`",
        tuple[datetime, date, time, timedelta],
        (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), date(2026, 1, 2), time(3, 4), timedelta(microseconds=1)),
    ),
    Row("`UUID`", uuid.UUID, uuid.UUID(int=1)),
    Row("`Enum`, `Literal`", tuple[Colour, Literal["on"]], (Colour.RED, "on")),
    Row("pydantic model", Order, Order(cents=5)),
    Row("dataclass, `NamedTuple`", tuple[Point, Pair], (Point(1.5), Pair(1, "a"))),
    Row("subclass with more fields than its declared base", Order, GiftOrder(cents=5, message="hello")),
    Row("field with `exclude=True` that is set", Hidden, Hidden(note="hello")),
    Row("`SecretStr`", SecretStr, SecretStr("swordfish")),
    Row("`Any`: JSON values", Any, {"a": [1, 0.5, "b", None]}),
    Row("`Any`: a `tuple`", Any, (1, 2)),
    Row("`Any`: a `datetime`", Any, datetime(2026, 1, 2, tzinfo=UTC)),
    Row("`Any`: a pydantic model", Any, Order(cents=5)),
    Row("NaN in a field of type `Any`", Loose, Loose(value=math.nan)),
]


def outcome_of(row: Row) -> tuple[str, Any]:
    """The cell of a row, and what comes back; None if the value is refused."""
    codec = Codec()
    try:
        back = codec.decode(codec.encode(row.value, row.declared, what="it"), row.declared, what="it")
    except Exception:
        return "refused", None
    if type(back) is type(row.value) and back == row.value:
        return (
            "stored as readable text, with a warning" if row.declared is SecretStr else "comes back as it was"
        ), back
    return f"comes back as `{type(back).__name__}`", back


def table() -> str:
    lines = ["| Value | What happens |", "|---|---|"]
    return "\n".join([*lines, *(f"| {row.written} | {outcome_of(row)[0]} |" for row in ROWS)])


@on_every_store
async def test_each_row_of_the_table_holds(store: StateStore) -> None:
    """As the result of a step, which is decoded from what the database gave back."""

    @workflow
    async def flow(ctx: WorkflowContext, number: int) -> bool:
        row = ROWS[number]

        async def give() -> Any:
            return row.value

        give.__annotations__["return"] = row.declared
        result = await ctx.step(step(name="give")(give))
        assert type(result) is type(outcome_of(row)[1])
        return bool(result == outcome_of(row)[1])

    async with running_engine(store, flow) as engine:
        for number, row in enumerate(ROWS):
            handle = await engine.start(flow, number)
            refused = outcome_of(row)[0] == "refused"
            if refused:
                with pytest.raises(RunFailedError, match="the result of step 'give' cannot be stored"):
                    await handle.result("60s")
            else:
                assert await handle.result("60s"), row.written
            (given,) = await store.list_checkpoints(handle.run_id)
            assert given.status is (CheckpointStatus.FAILED if refused else CheckpointStatus.COMPLETED), row.written


def test_the_page_holds_the_table() -> None:
    """`python -m tests.engine.test_storable_types` writes it."""
    assert table() in DOCUMENT.read_text(encoding="utf-8")


def test_the_example_of_an_encrypted_secret_stores_no_readable_text(caplog: pytest.LogCaptureFixture) -> None:
    """The page's own code, with a cipher that turns texts around."""
    (code,) = re.findall(r"```python\n(class Login.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"BaseModel": BaseModel, "SecretStr": SecretStr}
    names |= {"field_serializer": field_serializer, "field_validator": field_validator}
    names |= {"encrypt": lambda text: text[::-1], "decrypt": lambda text: text[::-1]}
    exec(code, names)  # noqa: S102 (the repository's own document)
    login = names["Login"](password=SecretStr("swordfish"))
    codec = Codec()
    stored = codec.encode(login, names["Login"], what="it")
    assert stored == {"password": "hsifdrows"}
    assert codec.decode(stored, names["Login"], what="it") == login
    assert caplog.records == []


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(
        re.sub(r"\| Value \|.*?\n\n", lambda _: table() + "\n\n", text, flags=re.DOTALL), encoding="utf-8"
    )
