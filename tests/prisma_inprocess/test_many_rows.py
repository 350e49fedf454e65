"""`create_many` of twenty rows and more: one plan for rows of one shape, and what single creates would store."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tests.prisma_inprocess.conftest import only_postgres
from tests.prisma_inprocess.workbench import Rich

COUNT = 30
NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 123000, tzinfo=dt.UTC)


def columns(rich: Rich) -> dict[str, list[Any]]:
    """For each field, values that take turns from row to row."""
    package = rich.package
    lists: dict[str, list[Any]] = {
        "nick": [["a"], [], ["b", "c"]],
        "nums": [[1, 2], [3]],
        "roles": [["USER"], ["ADMIN"]],
        "day": [dt.datetime(2026, 1, 2, tzinfo=dt.UTC), None],
        "uid": ["8f004d5c-55b5-4f02-a68e-7568e2594109", None],
    }
    return {
        "role": ["USER", "ADMIN", package.enums.Role.ADMIN],
        "money": [Decimal("1.25"), None, Decimal("-0.5")],
        "blob": [package.Base64.encode(b"abc"), None, b"\x00\xff"],
        "flag": [True, False],
        "big": [2**40, 7, None, -(2**63)],
        "ratio": [0.5, None, 3],
        "visits": [0, 2**31 - 1, -(2**31)],
        "meta": [rich.json({"a": [1]}), None, rich.json("text")],
        "settings": [rich.json({"b": 1}), rich.json([])],
        "at": [NOON, NOON.replace(tzinfo=None), NOON.astimezone(dt.timezone(dt.timedelta(hours=5)))],
        **(lists if rich.provider == "postgresql" else {}),
    }


def rows_of(fields: dict[str, list[Any]], prefix: str, count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {
            "email": f"{prefix}{number:03} äöü",
            **{field: values[number % len(values)] for field, values in fields.items()},
        }
        for number in range(count)
    ]


async def stored(db: Any, prefix: str, fields: dict[str, list[Any]]) -> list[dict[str, Any]]:
    found = await db.user.find_many(where={"email": {"startswith": prefix}}, order={"email": "asc"})
    return [{field: getattr(user, field) for field in fields} for user in found]


async def test_many_rows_store_what_single_creates_store(db: Any, rich: Rich) -> None:
    """Column by column, and all columns at once."""
    fields = columns(rich)
    base = {"settings": [rich.json({})]}
    for field, values in fields.items():
        chosen = {**base, field: values}
        assert await db.user.create_many(data=rows_of(chosen, f"many {field} ")) == COUNT
        for row in rows_of(chosen, f"one {field} ", len(values)):
            await db.user.create(data=row)
        many, one = await stored(db, f"many {field} ", chosen), await stored(db, f"one {field} ", chosen)
        assert many == [one[number % len(values)] for number in range(COUNT)], field
    assert await db.user.create_many(data=rows_of(fields, "all ")) == COUNT
    for field, values in fields.items():
        together = [row[field] for row in await stored(db, "all ", fields)]
        alone = [row[field] for row in await stored(db, f"one {field} ", {field: values})]
        assert together == [alone[number % len(values)] for number in range(COUNT)], field


async def test_values_of_one_shape_share_one_plan_however_many_rows_there_are(db: Any, rich: Rich) -> None:
    """Null or not, a small or a large number, fields in another order: none of it makes another plan."""
    fields = {
        name: values for name, values in columns(rich).items() if name not in ("nick", "nums", "roles", "settings")
    }
    settings = {"settings": rich.json({})}
    await db.user.create_many(data=[{**row, **settings} for row in rows_of(fields, "first ")])
    plans = db._engine._plans
    compiled = plans.misses
    rows = [{**row, **settings} for row in rows_of(fields, "second ", 77)]
    rows[5] = dict(reversed(rows[5].items()))
    assert await db.user.create_many(data=rows) == 77
    assert plans.misses == compiled


async def test_generated_values_and_the_time_are_made_for_many_rows(db: Any, rich: Rich) -> None:
    assert await db.identifier.create_many(data=[{} for _ in range(25)]) == 25
    for field in ("id", "uuid4", "uuid7", "cuid1", "cuid2", "nano", "ulid"):
        assert len({getattr(row, field) for row in await db.identifier.find_many()}) == 25, field
    await db.user.create_many(data=[{"email": str(number), "settings": rich.json({})} for number in range(25)])
    users = await db.user.find_many()
    assert len({(user.at, user.updated) for user in users}) == 1
    assert users[0].at == users[0].updated


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"visits": 2**31}, "P2020"),
        ({"big": 2**63}, "P2020"),
        ({"email": "lone \ud800"}, "P2019"),
        ({"meta": {"bare": 1}}, "P2019"),
        ({"visits": None}, "P2009"),
        ({"role": "NOBODY"}, "P2009"),
        ({"flag": "yes"}, "P2009"),
        ({"unknown": 1}, "P2009"),
    ],
)
async def test_one_wrong_value_in_many_rows_is_refused_and_nothing_is_stored(
    db: Any, rich: Rich, value: dict[str, Any], code: str
) -> None:
    rows = rows_of({"settings": [rich.json({})], "visits": [1], "flag": [True], "big": [1], "role": ["USER"]}, "r")
    rows[17].update(value)
    with pytest.raises(rich.errors.PrismaError) as refused:
        await db.user.create_many(data=rows)
    assert refused.value.code == code
    assert await db.user.count() == 0


async def test_something_that_is_no_row_is_refused(db: Any, rich: Rich) -> None:
    rows: list[Any] = rows_of({"settings": [rich.json({})]}, "r")
    rows[3] = "a row"
    with pytest.raises(rich.errors.PrismaError):
        await db.user.create_many(data=rows)
    assert await db.user.count() == 0


async def test_many_rows_beyond_the_limit_of_parameters_are_all_or_none(db: Any, rich: Rich) -> None:
    rows = [
        {"runId": "r", "seq": number, "name": f"s{number}", "output": rich.json({}) if number % 3 else None}
        for number in range(9_000)
    ]
    with pytest.raises(rich.errors.UniqueViolationError):
        await db.step.create_many(data=[*rows, rows[-1]])
    assert await db.step.count() == 0
    assert await db.step.create_many(data=rows) == 9_000
    assert await db.step.count(where={"output": None}) == 3_000


@only_postgres
async def test_many_rows_beyond_the_limit_skip_duplicates(db: Any) -> None:
    rows = [{"runId": "r", "seq": number % 11_500, "name": f"s{number % 11_500}"} for number in range(12_000)]
    assert await db.step.create_many(data=rows, skip_duplicates=True) == 11_500
