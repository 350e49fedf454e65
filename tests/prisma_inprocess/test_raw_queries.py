"""Raw queries: parameters of every type, results as plain data and as models, statements that return rows."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest

from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.test_operations import make_user
from tests.prisma_inprocess.workbench import Rich

NOON = dt.datetime(2026, 5, 6, 12, 0, 0, 250000, tzinfo=dt.UTC)


async def test_rows_come_back_as_plain_data(db: Any, rich: Rich) -> None:
    await make_user(db, rich, meta=rich.json({"a": [1]}), big=2**53 + 1, ratio=1.5, at=NOON, flag=False)
    row = await db.query_first('SELECT meta, big, ratio, at, flag, visits, role FROM "User"')
    when = dt.datetime.fromisoformat(row.pop("at"))
    assert row == {
        "meta": {"a": [1]},
        "big": 2**53 + 1,
        "ratio": 1.5,
        "flag": False,
        "visits": 0,
        "role": "USER",
    }
    assert when == NOON
    assert row["flag"] is False
    assert await db.query_first("SELECT meta FROM \"User\" WHERE id = 'nobody'") is None


@pytest.mark.parametrize("value", [{"a": None}, [1, "x"], "text", "", 7, 1.5, True, None], ids=repr)
async def test_json_columns_are_parsed_whatever_they_hold(db: Any, rich: Rich, value: Any) -> None:
    await make_user(db, rich, meta=rich.json(value))
    assert (await db.query_first('SELECT meta FROM "User"'))["meta"] == value
    as_model = await db.query_first('SELECT * FROM "User"', model=rich.models.User)
    assert as_model.meta == value


async def test_rows_come_back_as_models(db: Any, rich: Rich) -> None:
    user = await make_user(
        db,
        rich,
        meta=rich.json({"a": [1]}),
        big=-5,
        money=Decimal("12.345"),
        blob=rich.package.Base64.encode(b"\x00\xff"),
        at=NOON,
    )
    rows = await db.query_raw('SELECT * FROM "User"', model=rich.models.User)
    assert rows == [user]
    assert await db.user.query_raw('SELECT * FROM "User"') == [user]


async def test_a_statement_that_returns_what_it_changes_commits(db: Any, rich: Rich) -> None:
    one, two = rich.parameter(1), rich.parameter(2)
    sql = f"INSERT INTO steps (run_id, seq, step_name) VALUES ({one}, 1, {two}) RETURNING run_id, seq"
    assert await db.query_raw(sql, "r", "first") == [{"run_id": "r", "seq": 1}]
    rows = await db.query_raw(f"UPDATE steps SET output = {one} RETURNING output, seq", rich.json({"o": 1}))
    assert rows == [{"output": {"o": 1}, "seq": 1}]
    async with rich.client() as other:
        assert (await other.step.find_first()).output == {"o": 1}
    assert await db.query_raw("DELETE FROM steps RETURNING seq") == [{"seq": 1}]
    assert await db.step.count() == 0


async def test_execute_raw_counts_rows(db: Any, rich: Rich) -> None:
    await db.step.create_many(data=[{"runId": "r", "seq": number, "name": f"s{number}"} for number in range(5)])
    one = rich.parameter(1)
    assert await db.execute_raw(f"UPDATE steps SET step_name = step_name || '!' WHERE seq < {one}", 3) == 3
    assert await db.execute_raw("DELETE FROM steps WHERE seq >= 3 RETURNING seq") == 2
    assert await db.execute_raw("WITH x AS (SELECT 1) DELETE FROM steps WHERE seq = 0") == 1
    assert await db.step.count() == 2


SQLITE_PARAMETERS = [
    (None, None),
    (True, 1),
    (2**40, 2**40),
    (1.5, 1.5),
    ("text", "text"),
    (NOON, "2026-05-06T12:00:00.250+00:00"),
    (Decimal("1.5"), 1.5),
    (b"\x00\xff", "AP8="),
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ([1, "a"], '[1,"a"]'),
]


@only_sqlite
@pytest.mark.parametrize(("value", "expected"), SQLITE_PARAMETERS, ids=repr)
async def test_parameters_on_sqlite(db: Any, value: Any, expected: Any) -> None:
    assert await db.query_raw("SELECT ? AS x", value) == [{"x": expected}]


@only_sqlite
async def test_a_list_is_a_json_array_for_json_each_on_sqlite(db: Any, rich: Rich) -> None:
    for name in ("a", "b", "c"):
        await make_user(db, rich, name)
    sql = 'SELECT email FROM "User" WHERE email IN (SELECT value FROM json_each(?)) ORDER BY email'
    assert [row["email"] for row in await db.query_raw(sql, ["a", "c"])] == ["a", "c"]
    assert [row["email"] for row in await db.query_raw(sql, '["b"]')] == ["b"]


POSTGRES_PARAMETERS = [
    ("text", None, None),
    ("bool", True, True),
    ("bigint", 2**40, 2**40),
    ("int", "5", 5),
    ("float8", 1, 1.0),
    ("text", 5, "5"),
    ("text", "text", "text"),
    ("numeric", Decimal("1.5"), 1.5),
    ("numeric", 0.1, 0.1),
    ("timestamptz", NOON, "2026-05-06T12:00:00.250000+00:00"),
    ("timestamp", NOON, "2026-05-06T12:00:00.250000+00:00"),
    ("timestamptz", NOON.isoformat(), "2026-05-06T12:00:00.250000+00:00"),
    ("date", NOON, "2026-05-06"),
    ("bytea", b"\x00\xff", "AP8="),
    ("uuid", uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ("uuid", "00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007"),
    ("json", '{"a": 1}', {"a": 1}),
    ("jsonb", {"a": 1}, {"a": 1}),
    ("jsonb", '"text"', "text"),
    ("jsonb", 5, 5),
    ("int[]", [1, None, 3], [1, None, 3]),
    ("text[]", ["a", 'b"'], ["a", 'b"']),
    ("jsonb[]", [{"a": 1}, 2], [{"a": 1}, 2]),
    ("timestamptz[]", [NOON], ["2026-05-06T12:00:00.250000+00:00"]),
]


@only_postgres
@pytest.mark.parametrize(("kind", "value", "expected"), POSTGRES_PARAMETERS, ids=repr)
async def test_parameters_on_postgresql(db: Any, kind: str, value: Any, expected: Any) -> None:
    rows = await db.query_raw(f"SELECT $1::{kind} AS x", value)
    assert rows == [{"x": expected}]
    assert type(rows[0]["x"]) is type(expected)


@only_postgres
async def test_lists_find_rows_with_any_on_postgresql(db: Any, rich: Rich) -> None:
    for name in ("a", "b", "c"):
        await make_user(db, rich, name)
    sql = 'SELECT email FROM "User" WHERE email = ANY($1) AND at <= $2 ORDER BY email'
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    assert [row["email"] for row in await db.query_raw(sql, ["a", "c"], later)] == ["a", "c"]


@only_postgres
async def test_a_changed_table_does_not_break_statements_that_were_prepared_before(db: Any) -> None:
    sql = "SELECT * FROM steps"
    assert await db.query_raw(sql) == []
    await db.execute_raw("ALTER TABLE steps ADD COLUMN extra TEXT")
    try:
        await db.execute_raw("INSERT INTO steps (run_id, seq, step_name) VALUES ('r', 1, 's')")
        assert "extra" in (await db.query_raw(sql))[0]
    finally:
        await db.execute_raw("ALTER TABLE steps DROP COLUMN extra")


async def test_a_wrong_statement_says_what_the_database_says(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.RawQueryError) as failure:
        await db.query_raw("SELECT nope")
    assert failure.value.code == "P2010"
    assert "nope" in str(failure.value)
    with pytest.raises(rich.errors.RawQueryError):
        await db.query_raw(f"SELECT {rich.parameter(1)} AS x")
    assert await db.query_raw("SELECT 1 AS x") == [{"x": 1}]


async def test_several_statements_at_once_are_refused(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.RawQueryError):
        await db.query_raw("SELECT 1; SELECT 2")
