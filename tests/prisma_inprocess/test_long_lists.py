"""Lists beyond the databases' limit of 32,766 parameters mean what shorter ones mean, wherever they stand."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import pytest

from prisma_inprocess import EngineError
from prisma_inprocess.date_format import DateFormat
from prisma_inprocess.drivers.sqlite_values import SqliteDialect
from prisma_inprocess.plan.sql import compile_statement
from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.workbench import Rich

pytestmark = pytest.mark.slow

# Rows on both sides of the limit and of both lengths; none between, where they would only cost time.
FIRST, LAST = 32_501, 40_500
ROWS = [*range(FIRST, 33_501), *range(39_501, LAST + 1)]
LENGTHS = pytest.mark.parametrize("length", [33_000, 40_000])


async def fill(db: Any, rich: Rich) -> list[int]:
    """One user with posts, views equal to the ids, titles `t0` to `t9`, scores of even ids NULL. Returns the ids."""
    await db.user.create(data={"id": "u", "email": "u", "settings": rich.json({})})
    series = f"WITH RECURSIVE s(n) AS (SELECT {FIRST} UNION ALL SELECT n + 1 FROM s WHERE n < {LAST})"
    select = "SELECT n, 't' || (n % 10), n, CASE WHEN n % 2 = 1 THEN n END, 'u' FROM s WHERE n <= 33500 OR n > 39500"
    await db.execute_raw(f'{series} INSERT INTO "Post" (id, title, views, score, "userId") {select}')
    return ROWS


async def ids(found: Any) -> list[int]:
    return [post.id for post in await found]


def upto(length: int) -> list[int]:
    return list(range(1, length + 1))


@LENGTHS
async def test_deleting_all_but_a_list_keeps_the_list(db: Any, rich: Rich, length: int) -> None:
    rows = await fill(db, rich)
    kept = [row for row in rows if row <= length]
    assert await db.post.delete_many(where={"NOT": [{"id": {"in": upto(length)}}]}) == len(rows) - len(kept)
    assert await ids(db.post.find_many(order={"id": "asc"})) == kept


@LENGTHS
async def test_deleting_what_is_not_in_a_list_keeps_the_list(db: Any, rich: Rich, length: int) -> None:
    rows = await fill(db, rich)
    kept = [row for row in rows if row <= length]
    assert await db.post.delete_many(where={"id": {"not_in": upto(length)}}) == len(rows) - len(kept)
    assert await ids(db.post.find_many(order={"id": "asc"})) == kept


@LENGTHS
async def test_deleting_a_list_deletes_it(db: Any, rich: Rich, length: int) -> None:
    rows = await fill(db, rich)
    kept = [row for row in rows if row > length]
    assert await db.post.delete_many(where={"id": {"in": upto(length)}}) == len(rows) - len(kept)
    assert await ids(db.post.find_many(order={"id": "asc"})) == kept


async def views(db: Any) -> dict[int, int]:
    return {post.id: post.views for post in await db.post.find_many()}


@LENGTHS
async def test_an_update_under_or_changes_each_row_once(db: Any, rich: Rich, length: int) -> None:
    rows = await fill(db, rich)
    where = {"OR": [{"id": {"in": upto(length)}}, {"title": "t1"}]}
    chosen = {row for row in rows if row <= length or row % 10 == 1}
    assert await db.post.update_many(where=where, data={"views": {"increment": 100_000}}) == len(chosen)
    assert await views(db) == {row: row + 100_000 * (row in chosen) for row in rows}


@LENGTHS
async def test_an_update_of_the_field_that_is_searched_changes_each_row_once(db: Any, rich: Rich, length: int) -> None:
    """The first row becomes what the list names later: it must not be counted up again."""
    rows = await fill(db, rich)
    chosen = {row for row in rows if row <= length}
    where = {"views": {"in": upto(length)}}
    assert await db.post.update_many(where=where, data={"views": {"increment": 400}}) == len(chosen)
    assert await views(db) == {row: row + 400 * (row in chosen) for row in rows}


@LENGTHS
async def test_finding_under_not_or_and_beside_other_lists(db: Any, rich: Rich, length: int) -> None:
    rows = await fill(db, rich)
    listed, few = upto(length), upto(32_700)
    inside, outside = [row for row in rows if row <= length], [row for row in rows if row > length]
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"id": {"in": listed}}, inside),
        ({"NOT": [{"id": {"in": listed}}]}, outside),
        ({"id": {"not": {"in": listed}}}, outside),
        ({"NOT": [{"id": {"not_in": listed}}]}, inside),
        ({"OR": [{"id": {"in": listed}}, {"title": "t1"}]}, [row for row in rows if row <= length or row % 10 == 1]),
        ({"OR": [{"id": {"not_in": listed}}, {"id": FIRST}]}, [FIRST, *outside]),
        ({"id": {"in": listed}, "views": {"in": few}}, [row for row in rows if row <= 32_700]),
        ({"id": {"in": listed}, "NOT": [{"views": {"in": few}}]}, [row for row in inside if row > 32_700]),
        # NULL is neither in a list nor outside of it.
        ({"score": {"not_in": listed}}, [row for row in outside if row % 2 == 1]),
        ({"NOT": [{"score": {"in": listed}}]}, [row for row in outside if row % 2 == 1]),
    ]
    for where, expected in cases:
        assert sorted(await ids(db.post.find_many(where=where))) == expected
        assert await db.post.count(where=where) == len(expected)


@LENGTHS
async def test_pages_and_orders_are_those_of_the_whole_list(db: Any, rich: Rich, length: int) -> None:
    await fill(db, rich)
    inside, outside = {"id": {"in": upto(length)}}, {"id": {"not_in": upto(length)}}
    page = db.post.find_many(where=inside, order={"id": "desc"}, take=3, skip=2)
    assert await ids(page) == [length - 2, length - 3, length - 4]
    page = db.post.find_many(where=inside, order={"id": "asc"}, take=3)
    assert await ids(page) == [FIRST, FIRST + 1, FIRST + 2]
    assert await ids(db.post.find_many(where=inside, order={"id": "asc"}, take=-2)) == [length - 1, length]
    assert await ids(db.post.find_many(where=outside, order={"id": "asc"}, take=2, skip=1)) == [length + 2, length + 3]
    page = db.post.find_many(where=inside, order={"id": "asc"}, cursor={"id": 32_900}, take=2)
    assert await ids(page) == [32_900, 32_901]
    assert (await db.post.find_first(where=inside)).id <= length
    assert (await db.post.find_first(where=outside, order={"id": "desc"})).id == LAST
    assert await db.post.count(where=inside, take=10) == 10
    assert len(await db.post.find_many(where=inside, distinct=["title"])) == 10


@LENGTHS
async def test_groups_and_sums_are_those_of_the_whole_list(db: Any, rich: Rich, length: int) -> None:
    inside = [row for row in await fill(db, rich) if row <= length]
    groups = await db.post.group_by(["title"], where={"id": {"in": upto(length)}}, sum={"views": True}, count=True)
    expected = {f"t{digit}": [row for row in inside if row % 10 == digit] for digit in range(10)}
    assert {group["title"]: (group["_count"]["_all"], group["_sum"]["views"]) for group in groups} == {
        title: (len(members), sum(members)) for title, members in expected.items()
    }


@LENGTHS
async def test_filters_on_relations_look_at_the_whole_list(db: Any, rich: Rich, length: int) -> None:
    rows = await fill(db, rich)
    await db.user.create(data={"id": "idle", "email": "idle", "settings": rich.json({})})
    absent = list(range(LAST + 1, LAST + length))

    async def users(quantifier: str, values: list[int]) -> list[str]:
        found = await db.user.find_many(where={"posts": {quantifier: {"id": {"in": values}}}}, order={"id": "asc"})
        return [user.id for user in found]

    assert await users("some", upto(length)) == ["u"]
    assert await users("some", absent) == []
    assert await users("none", upto(length)) == ["idle"]
    assert await users("none", absent) == ["idle", "u"]
    assert await users("every", upto(length)) == ["idle"]
    assert await users("every", upto(LAST)) == ["idle", "u"]
    related = {"id": {"in": upto(length)}, "user": {"is": {"id": "u"}}}
    assert await db.post.count(where=related) == len([row for row in rows if row <= length])


async def test_the_relations_of_many_rows_are_loaded_and_filtered(db: Any, rich: Rich) -> None:
    await fill(db, rich)
    earlier = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 31000)"
    await db.execute_raw(f"{earlier} INSERT INTO \"Post\" (id, title, views, \"userId\") SELECT n, 'e', 0, 'u' FROM s")
    await db.tag.create(data={"id": 1, "name": "odd"})
    await db.execute_raw('INSERT INTO "_PostToTag" ("A", "B") SELECT id, 1 FROM "Post" WHERE id % 2 = 1')
    posts = await db.post.find_many(order={"id": "asc"}, include={"tags": True})
    assert len(posts) > 32_766
    assert [len(post.tags) for post in posts] == [post.id % 2 for post in posts]
    user = await db.user.find_first(include={"posts": {"where": {"id": {"not_in": upto(33_000)}}, "take": 5}})
    assert [post.id > 33_000 for post in user.posts] == [True] * 5


async def test_lists_of_every_type_find_what_short_ones_find(db: Any, rich: Rich) -> None:
    """The values are those that a detour through JSON or an array would damage."""
    noon = dt.datetime(2026, 5, 6, 12, 0, 0, 250000, tzinfo=dt.UTC)
    base64 = rich.package.Base64.encode
    values: dict[str, list[Any]] = {
        "ratio": [0.1, 5e-324, 1.7976931348623157e308, 3.0, -2.5, 0.30000000000000004],
        "big": [2**63 - 1, -(2**63), 2**53 + 1, 0],
        "visits": [2**31 - 1, -(2**31), 0],
        "bossId": ["plain"],
        "blob": [base64(b"\x00\xff"), base64(b""), base64(b"text")],
        "at": [noon, noon + dt.timedelta(milliseconds=1)],
    }
    texts = ["", "é🙂", "a'b\"c\\d", "\n\t", "null", "1"]
    if rich.provider == "sqlite":
        texts += ["a\0b"]  # PostgreSQL has no texts with NUL
    for number, text in enumerate(["plain", *texts]):
        data = {"id": text, "email": str(number), "settings": rich.json({}), "bossId": "plain"}
        data |= {field: choices[number % len(choices)] for field, choices in values.items() if field != "bossId"}
        await db.user.create(data=data)
    fillers: dict[str, list[Any]] = {
        "ratio": [number + 0.5 for number in range(100, 33_100)],
        "big": list(range(100, 33_100)),
        "visits": list(range(100, 33_100)),
        "bossId": [f"x{number}" for number in range(33_000)],
        "blob": [base64(str(number).encode()) for number in range(33_000)],
        "at": [noon + dt.timedelta(hours=number) for number in range(1, 33_001)],
        "id": [f"x{number}" for number in range(33_000)],
    }
    values["id"] = texts
    for field, choices in values.items():
        for operator, chosen in (("in", choices), ("not_in", choices), ("in", choices[1:])):
            short = await db.user.find_many(where={field: {operator: chosen}}, order={"email": "asc"})
            long = await db.user.find_many(
                where={field: {operator: [*fillers[field], *chosen]}}, order={"email": "asc"}
            )
            assert [user.id for user in long] == [user.id for user in short], (field, operator, chosen)
    # What looks like another text only to a comparison that stops at NUL:
    assert await db.user.find_many(where={"id": {"in": [*fillers["id"], "a"]}}) == []


@only_sqlite
async def test_texts_with_nul_are_told_from_what_stands_before_it(db: Any, rich: Rich) -> None:
    await db.user.create(data={"id": "a", "email": "a", "settings": rich.json({})})
    assert await db.user.find_many(where={"id": {"in": [*(f"x{n}" for n in range(33_000)), "a\0b"]}}) == []


@only_postgres
async def test_native_types_and_case_are_respected_in_long_lists(db: Any, rich: Rich) -> None:
    noon = dt.datetime(2026, 5, 6, 12, 0, 0, 250000, tzinfo=dt.UTC)
    uid = "11111111-2222-3333-4444-555555555555"
    await db.user.create(
        data={"email": "ADA", "settings": rich.json({}), "tz": noon, "day": noon, "clock": noon, "uid": uid}
    )
    others = [noon + dt.timedelta(days=number) for number in range(1, 33_001)]
    seconds = [dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=number) for number in range(33_000)]
    uids = [f"11111111-2222-3333-4444-{number:012}" for number in range(33_000)]
    for field, fillers, value in (
        ("tz", others, noon),
        ("day", others, noon),
        ("clock", seconds, noon),
        ("uid", uids, uid),
    ):
        assert await db.user.count(where={field: {"in": [*fillers, value]}}) == 1, field
        assert await db.user.count(where={field: {"in": fillers}}) == 0, field
        assert await db.user.count(where={field: {"not_in": [*fillers, value]}}) == 0, field
    names = [f"x{number}" for number in range(33_000)]
    assert await db.user.count(where={"email": {"in": [*names, "ada"], "mode": "insensitive"}}) == 1
    assert await db.user.count(where={"email": {"in": [*names, "ada"]}}) == 0
    assert await db.user.count(where={"email": {"not_in": [*names, "aDa"], "mode": "insensitive"}}) == 0
    assert await db.user.count(where={"email": {"not_in": names, "mode": "insensitive"}}) == 1


class Narrow(SqliteDialect):
    """A database that takes four parameters."""

    max_parameters: ClassVar[int] = 4


def statement(text: list[str], *, tuples: bool = False) -> dict[str, Any]:
    """A plan's statement: texts, `?` for one value, `*` for a list, `#` for rows of two values."""
    kinds = {"?": "parameter", "*": "parameterTuple", "#": "parameterTupleList"}
    item = {"itemPrefix": "(" if tuples else "", "itemSeparator": ",", "itemSuffix": ")" if tuples else ""}
    fragments = [
        {"type": kinds[piece], "groupSeparator": ",", **item}
        if piece in kinds
        else {"type": "stringChunk", "chunk": piece}
        for piece in text
    ]
    slots = [piece for piece in text if piece in kinds]
    scalar = {"arity": "scalar", "scalarType": "int", "dbType": None}
    return {
        "type": "templateSql",
        "fragments": fragments,
        "argTypes": [{"arity": "tuple", "elements": [scalar, scalar]} if slot == "#" else scalar for slot in slots],
        "args": [{"prisma__type": "param", "prisma__value": {"name": f"%{place}"}} for place in range(len(slots))],
        "placeholderFormat": {"prefix": "?", "hasNumbering": False},
        "chunkable": True,
    }


def rendered(raw: dict[str, Any], *values: Any) -> list[tuple[str, list[Any]]]:
    run: Any = None
    render = compile_statement(raw, Narrow(DateFormat.ISO))
    return render(run, {f"%{place}": value for place, value in enumerate(values)})


def test_only_the_rows_of_an_insert_are_cut_into_several_statements() -> None:
    """As when many rows are connected over a table between two: each row stands for itself."""
    insert = statement(["INSERT INTO t VALUES ", "#", " ON CONFLICT DO NOTHING"], tuples=True)
    assert rendered(insert, [[1, 2], [3, 4], [5, 6]]) == [
        ("INSERT INTO t VALUES (?,?),(?,?) ON CONFLICT DO NOTHING", [1, 2, 3, 4]),
        ("INSERT INTO t VALUES (?,?) ON CONFLICT DO NOTHING", [5, 6]),
    ]
    assert len(rendered(insert, [[1, 2], [3, 4]])) == 1


def test_a_list_becomes_one_parameter_only_beyond_the_limit() -> None:
    select = statement(["SELECT 1 FROM t WHERE a = ", "?", " AND NOT b IN ", "*", " AND c NOT IN ", "*"])
    assert rendered(select, 1, [2, 3], [4]) == [
        ("SELECT 1 FROM t WHERE a = ? AND NOT b IN (?,?) AND c NOT IN (?)", [1, 2, 3, 4])
    ]
    one = "(SELECT +value FROM json_each(?))"
    assert rendered(select, 1, [2, 3], [4, 5]) == [
        (f"SELECT 1 FROM t WHERE a = ? AND NOT b IN {one} AND c NOT IN {one}", [1, "[2, 3]", "[4, 5]"])
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (["SELECT 1 FROM t WHERE ", *["?", " OR "] * 4, "?"], [1] * 5),
        (["SELECT 1 FROM t WHERE a = ANY_OF ", "*"], [[1] * 5]),
        (["DELETE FROM t WHERE (a, b) IN (", "#", ")"], [[[1, 2], [3, 4], [5, 6]]]),
        (["INSERT INTO t SELECT a FROM s WHERE a IS ", "*"], [[1] * 5]),
    ],
    ids=["single values", "an unknown operator", "rows to delete", "an insert without rows"],
)
def test_what_can_neither_be_one_parameter_nor_cut_is_refused(text: list[str], values: list[Any]) -> None:
    with pytest.raises(EngineError) as failure:
        rendered(statement(text), *values)
    assert failure.value.code == "P2029"
