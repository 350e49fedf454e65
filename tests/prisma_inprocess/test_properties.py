"""Whatever a value is, it survives every way into a column, is found by filters, and comes back from raw queries."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.prisma_inprocess.workbench import Rich

pytestmark = pytest.mark.slow

Check = Callable[[Callable[[Any], Awaitable[None]]], None]

examples = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

# NUL is refused by PostgreSQL, lone surrogates by both; those have tests of their own.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
big_integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(lambda value: value + 0.0)
decimals = st.decimals(-(10**9), 10**9, places=5, allow_nan=False).map(lambda value: value + 0)
times = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.timezones())  # noqa: DTZ001
# Numbers keep 15 significant digits where a Json value is a number by itself (SQLite stores it as one), and a float
# without a fraction may come back as an integer (both databases store JSON's numbers, which are of one kind).
json_numbers = st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9).map(lambda value: round(value, 4))
json_values = st.recursive(
    st.none() | st.booleans() | json_numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def check(rich: Rich) -> Iterator[Check]:
    """Runs a check against a connected client, on an event loop that lasts for the whole test."""
    with asyncio.Runner() as runner:
        client = rich.client()
        runner.run(client.connect())

        async def once(body: Callable[[Any], Awaitable[None]]) -> None:
            await client.user.delete_many()
            await body(client)

        yield lambda body: runner.run(once(body))
        runner.run(client.disconnect())


async def round_trip(db: Any, rich: Rich, field: str, value: Any, expected: Any, *, filters: bool = True) -> None:
    """One value through create, update, update_many, upsert, create_many and filters of one column."""
    base = {"settings": rich.json({})}
    where = {"email": "a"}
    created = await db.user.create(data={"email": "a", **base, field: value})
    assert getattr(created, field) == expected
    await db.user.update(where=where, data={field: None})
    assert getattr(await db.user.update(where=where, data={field: value}), field) == expected
    await db.user.update_many(where={}, data={field: None})
    assert await db.user.update_many(where={}, data={field: value}) == 1
    assert getattr(await db.user.find_unique(where=where), field) == expected
    data = {"create": {"email": "b", **base, field: value}, "update": {field: value}}
    for _ in range(2):
        assert getattr(await db.user.upsert(where={"email": "b"}, data=data), field) == expected
    await db.user.create_many(data=[{"email": f"m{number}", **base, field: value} for number in range(25)])
    assert all(getattr(user, field) == expected for user in await db.user.find_many())
    if filters:
        assert await db.user.count(where={field: {"equals": value}}) == 27
        assert await db.user.count(where={field: {"not": value}}) == 0
        assert await db.user.count(where={field: {"in": [value]}}) == 27


@examples
@given(value=big_integers)
@example(value=2**53 + 1)
def test_big_integers(check: Check, rich: Rich, value: int) -> None:
    check(lambda db: round_trip(db, rich, "big", value, value))


@examples
@given(value=floats)
@example(value=5e-324)
@example(value=1.7976931348623157e308)
def test_floats(check: Check, rich: Rich, value: float) -> None:
    check(lambda db: round_trip(db, rich, "ratio", value, value))


@examples
@given(value=decimals)
def test_decimals(check: Check, rich: Rich, value: Decimal) -> None:
    async def body(db: Any) -> None:
        user = await db.user.create(data={"email": "a", "settings": rich.json({}), "money": value})
        assert user.money == value
        assert await db.user.count(where={"money": {"equals": value}}) == 1
        assert await db.user.count(where={"money": {"gt": value}}) == 0

    check(body)


@examples
@given(value=st.binary(max_size=300))
def test_bytes(check: Check, rich: Rich, value: bytes) -> None:
    encoded = rich.package.Base64.encode(value)
    check(lambda db: round_trip(db, rich, "blob", encoded, encoded))


@examples
@given(value=times)
def test_times(check: Check, rich: Rich, value: dt.datetime) -> None:
    instant = value.astimezone(dt.UTC)
    expected = instant.replace(microsecond=instant.microsecond // 1000 * 1000)

    async def body(db: Any) -> None:
        user = await db.user.create(data={"email": "a", "settings": rich.json({}), "at": value})
        assert user.at == expected
        assert (await db.user.update(where={"email": "a"}, data={"at": value})).at == expected
        assert await db.user.count(where={"at": value}) == 1
        assert await db.user.count(where={"at": {"gt": value}}) == 0
        row = await db.query_first('SELECT at FROM "User"')
        assert dt.datetime.fromisoformat(row["at"]) == expected

    check(body)


@examples
@given(value=texts)
@example(value='\'; DROP TABLE "User"; --')
@example(value="%_\\")
def test_texts(check: Check, rich: Rich, value: str) -> None:
    async def body(db: Any) -> None:
        data = {"email": value, "settings": rich.json({})}
        assert (await db.user.create(data=data)).email == value
        assert await db.user.count(where={"email": value}) == 1
        assert await db.user.count(where={"email": {"in": [value, value + "x"]}}) == 1
        assert await db.user.count(where={"email": {"not": value}}) == 0
        one = rich.parameter(1)
        assert await db.query_raw(f'SELECT email FROM "User" WHERE email = {one}', value) == [{"email": value}]

    check(body)


@examples
@given(value=json_values)
@example(value={"increment": 1})
@example(value=[["a"], ["b"]])
@example(value={"$type": "Json", "value": "1"})
@example(value={"prisma__type": "param", "prisma__value": {"name": "%1"}})
def test_json(check: Check, rich: Rich, value: Any) -> None:
    wrapped = rich.json(value)

    async def body(db: Any) -> None:
        await round_trip(db, rich, "meta", wrapped, value, filters=False)
        if value is not None and not isinstance(value, float):
            assert await db.user.count(where={"meta": {"equals": wrapped}}) == 27
        replaced = await db.user.update(where={"email": "a"}, data={"meta": rich.json({"other": [value]})})
        assert replaced.meta == {"other": [value]}
        assert (await db.user.update(where={"email": "a"}, data={"meta": wrapped})).meta == value
        one = rich.parameter(1)
        sql = f"UPDATE \"User\" SET meta = {one} WHERE email = 'a' RETURNING meta"
        assert (await db.query_raw(sql, wrapped))[0]["meta"] == value
        assert (await db.query_raw(sql, json.dumps(value)))[0]["meta"] == value

    check(body)


@examples
@given(value=st.text(max_size=20))
def test_any_text_is_stored_or_refused(check: Check, rich: Rich, value: str) -> None:
    async def body(db: Any) -> None:
        try:
            user = await db.user.create(data={"email": value, "settings": rich.json({"v": value})})
        except rich.errors.DataError:
            refused = "\x00" in value or any(0xD800 <= ord(character) <= 0xDFFF for character in value)
            assert refused
            assert await db.user.count() == 0
        else:
            assert (user.email, user.settings) == (value, {"v": value})

    check(body)
