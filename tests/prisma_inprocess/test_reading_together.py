"""Several reads of one operation: as many trips as the database needs, and rows by position rather than by name."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import sys
from typing import Any

import pytest

from prisma_inprocess import EngineError
from prisma_inprocess.drivers import sqlite_connection
from prisma_inprocess.drivers.base import Rows, Unreadable
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from prisma_inprocess.plan.early_mapping import map_early
from prisma_inprocess.plan.records import JoinChild, as_list, joined
from prisma_inprocess.plan.row_mapper import Leaf, RowMapper
from tests.prisma_inprocess.conftest import only_sqlite
from tests.prisma_inprocess.workbench import Rich


async def users_with_posts(rich: Rich, db: Any) -> None:
    for name in ("ada", "bob"):
        posts = {"create": [{"title": f"{name} {number}"} for number in range(2)]}
        await db.user.create(data={"email": name, "settings": rich.json({}), "posts": posts})


def titles(users: list[Any]) -> dict[str, list[str]]:
    return {user.email: [post.title for post in user.posts] for user in users}


WANTED = {"ada": ["ada 0", "ada 1"], "bob": ["bob 0", "bob 1"]}


@only_sqlite
async def test_an_include_goes_to_the_thread_of_sqlite_once(rich: Rich, monkeypatch: pytest.MonkeyPatch) -> None:
    went = 0
    run = SqliteThread.run

    async def counted(thread: SqliteThread, *arguments: Any, **options: Any) -> Any:
        nonlocal went
        went += 1
        return await run(thread, *arguments, **options)

    async with rich.client() as db:
        await users_with_posts(rich, db)
        await db.user.find_many(include={"posts": True})
        monkeypatch.setattr(SqliteThread, "run", counted)
        assert titles(await db.user.find_many(include={"posts": True})) == WANTED
        assert went == 1


class Calls:
    """Counts the calls that a thread makes, of functions in Python and in C. Unlike time, it is the same every time."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Calls:
        sys.setprofile(self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _notice(self, _: object, event: str, __: object) -> None:
        self.count += event in ("call", "c_call")


@only_sqlite
async def test_the_work_on_an_include_grows_by_one_call_a_child(rich: Rich, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay tuples until they are mapped, and all children are mapped at once."""
    calls = Calls()
    read_together = sqlite_connection.read_together

    def counted(*arguments: Any) -> Any:
        with calls:
            return read_together(*arguments)

    monkeypatch.setattr(sqlite_connection, "read_together", counted)

    async def cost(db: Any, parents: int, children: int) -> int:
        name = f"{parents} with {children} "
        for number in range(parents):
            posts = {"create": [{"title": str(title)} for title in range(children)]}
            await db.user.create(data={"email": f"{name}{number}", "settings": rich.json({}), "posts": posts})
        calls.count = 0
        found = await db.user.find_many(where={"email": {"startswith": name}}, include={"posts": True})
        assert [len(user.posts) for user in found] == [children] * parents
        return calls.count

    async with rich.client() as db:
        base = await cost(db, 2, 2)
        a_child = (await cost(db, 2, 12) - base) / 20
        a_parent = (await cost(db, 12, 2) - base) / 10 - 2 * a_child
    assert a_child <= 1
    assert a_parent <= 20


async def test_a_list_costs_the_event_loop_one_call_a_row(rich: Rich) -> None:
    """Making a model of the row is that call. Whatever surrounds the rows is done once for all of them."""

    async def cost(db: Any, rows: int) -> int:
        run = f"run of {rows}"
        await db.step.create_many(data=[{"runId": run, "seq": n, "name": str(n)} for n in range(rows)])
        await db.step.find_many(where={"runId": run})  # compiles the plan and prepares the statement
        with Calls() as calls:
            assert len(await db.step.find_many(where={"runId": run})) == rows
        return calls.count

    async with rich.client() as db:
        assert (await cost(db, 110) - await cost(db, 10)) / 100 < 1.1


async def test_an_include_in_a_transaction_sees_what_the_transaction_wrote(rich: Rich) -> None:
    async with rich.client() as db:
        async with db.tx(timeout=dt.timedelta(seconds=60)) as tx:
            await users_with_posts(rich, tx)
            assert titles(await tx.user.find_many(include={"posts": True}, order={"email": "asc"})) == WANTED
        assert titles(await db.user.find_many(include={"posts": True}, order={"email": "asc"})) == WANTED


async def test_a_cancelled_include_leaves_its_connection_usable(rich: Rich) -> None:
    async with rich.client("connection_limit=2") as db:
        await users_with_posts(rich, db)
        for _ in range(20):
            reading = asyncio.create_task(db.user.find_many(include={"posts": True}))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        found = await db.user.find_many(include={"posts": True}, order={"email": "asc"})
        assert titles(found) == WANTED


def records(*statement: str) -> Rows:
    """Rows as a driver gives them."""
    connection = sqlite3.connect(":memory:")
    cursor = connection.execute(*statement)
    rows = cursor.fetchall()
    connection.close()
    return Rows(tuple(column[0] for column in cursor.description), rows)


def refuse(_: Any) -> Any:
    raise Unreadable("a sum, which a list cannot hold")


def test_rows_are_mapped_alike_by_position_and_by_name() -> None:
    leaves = [Leaf("b", str, str), Leaf("a", None), Leaf("c", list, is_list=True)]
    mapper = RowMapper({"number": 0, "inner": {"first": 1}, "list": 2}, leaves)
    rows = records("SELECT 1 AS a, 2 AS b, NULL AS c UNION ALL SELECT NULL, NULL, 'xy'")
    wanted = [
        {"number": "2", "inner": {"first": 1}, "list": []},
        {"number": None, "inner": {"first": None}, "list": ["x", "y"]},
    ]
    assert mapper(rows) == wanted
    assert mapper(rows.as_dicts()) == wanted
    assert [mapper.one(row) for row in rows.as_dicts()] == wanted
    assert mapper(Rows(())) == []


def test_the_columns_of_a_statement_may_stand_in_another_order_than_before() -> None:
    mapper = RowMapper({"a": 0, "b": 1}, [Leaf("a", None), Leaf("b", None)])
    for statement in ("SELECT 1 AS a, 2 AS b", "SELECT 2 AS b, 1 AS a", "SELECT 0 AS z, 1 AS a, 2 AS b"):
        assert mapper(records(statement)) == [{"a": 1, "b": 2}]


def test_a_field_that_is_named_like_code_is_only_a_name() -> None:
    name = "'): __import__('os').abort() #\\"
    assert RowMapper({name: 0}, [Leaf("a", None)])(records("SELECT 1 AS a")) == [{name: 1}]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_value_that_cannot_be_read_is_reported_by_its_column(by_name: bool) -> None:
    mapper = RowMapper({"a": 0, "b": 1}, [Leaf("a", None), Leaf("b", refuse)])
    rows = records("SELECT 1 AS a, NULL AS b UNION ALL SELECT 2, 'secret'")
    with pytest.raises(EngineError, match="column `b` holds a sum, which a list cannot hold") as failure:
        mapper(rows.as_dicts() if by_name else rows)
    assert "secret" not in str(failure.value)


def test_an_object_in_a_row_reports_its_own_column() -> None:
    inner = RowMapper({"b": 0}, [Leaf("b", refuse)])
    mapper = RowMapper({"a": 0}, [Leaf("a", inner.one, takes_none=True)])
    with pytest.raises(EngineError, match="column `b` holds a sum, which a list cannot hold"):
        mapper([{"a": {"b": "secret"}}])


@pytest.mark.parametrize("by_name", [False, True])
def test_children_are_joined_to_every_parent_that_has_their_key(by_name: bool) -> None:
    parents = records("SELECT 1 AS id UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3")
    children = records("SELECT 1 AS parent, 'x' AS name UNION ALL SELECT '1', 'y' UNION ALL SELECT 2, 'z'")

    def join(*, is_unique: bool, strict: bool) -> list[Any]:
        child = JoinChild([("id", "parent")], "children", is_unique, make=as_list)
        rows = joined(as_list(parents) if by_name else parents, child, children, strict=strict)
        return [row["children"] for row in as_list(rows)]

    for strict, wanted in ((False, [["x", "y"], ["x", "y"], ["z"], []]), (True, [["x"], ["x"], ["z"], []])):
        lists = join(is_unique=False, strict=strict)
        assert [[child["name"] for child in found] for found in lists] == wanted
        alone = join(is_unique=True, strict=strict)
        assert [found and found["name"] for found in alone] == [names[-1] if names else None for names in wanted]


def test_a_relation_is_mapped_at_its_join_unless_something_follows_that_reads_its_rows() -> None:
    relation = {"type": "object", "serializedName": "@nested$posts", "skipNulls": False, "fields": {}}
    structure = {"type": "object", "serializedName": None, "skipNulls": False, "fields": {"posts": relation}}
    query = {"type": "get", "args": {"name": "rows"}}
    child = {"child": query, "on": [], "parentField": "@nested$posts", "isRelationUnique": False}
    join = {"type": "join", "args": {"parent": query, "children": [child]}}

    expression, mapped = map_early({"type": "unique", "args": join}, structure, {})
    assert expression["args"]["args"]["children"] == [{**child, "dataMap": {"structure": relation, "enums": {}}}]
    assert mapped["fields"] == {"posts": {"type": "mapped", "dbName": "@nested$posts"}}

    paged = {"type": "process", "args": {"expr": join, "operations": {}}}
    assert map_early(paged, structure, {}) == (paged, structure)


async def test_an_include_of_no_rows_gives_every_parent_an_empty_list(rich: Rich) -> None:
    """Its plan joins by no column at all."""
    async with rich.client() as db:
        await users_with_posts(rich, db)
        users = await db.user.find_many(include={"posts": {"take": 0}})
        assert titles(users) == {"ada": [], "bob": []}
