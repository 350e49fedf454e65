"""Values survive the way into a column and back, and are found by filters."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tests.prisma_inprocess.conftest import only_postgres
from tests.prisma_inprocess.test_operations import make_user
from tests.prisma_inprocess.workbench import Rich

JSON_VALUES = [
    {},
    [],
    {"a": [1, {"b": None}], "é": 'x"y\n\\'},
    {"increment": 1},
    {"set": [1]},
    [["a"], ["b"]],
    ["a", "b"],
    "text",
    '"quoted"',
    "",
    0,
    -1.5,
    2**53 + 1,
    True,
    False,
    {"$type": "Param", "value": {"name": "%1"}},
    {"prisma__type": "param"},
]


@pytest.mark.parametrize("value", JSON_VALUES, ids=str)
async def test_json_survives_create_update_and_filter(db: Any, rich: Rich, value: Any) -> None:
    user = await make_user(db, rich, meta=rich.json(value))
    assert user.meta == value
    assert type(user.meta) is type(value)
    replaced = await db.user.update(
        where={"id": user.id}, data={"meta": rich.json({"other": 1}), "settings": rich.json(value)}
    )
    assert (replaced.meta, replaced.settings) == ({"other": 1}, value)
    again = await db.user.update(where={"id": user.id}, data={"meta": rich.json(value)})
    assert again.meta == value
    assert await db.user.count(where={"meta": {"equals": rich.json(value)}}) == 1
    assert await db.user.count(where={"meta": {"equals": rich.json({"different": True})}}) == 0


async def test_none_in_a_json_column_is_sql_null_and_json_none_is_json_null(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich, meta=rich.json({"a": 1}))

    async def stored() -> list[dict[str, Any]]:
        column = '"meta"::text' if rich.provider == "postgresql" else "CAST(meta AS TEXT)"
        rows: list[dict[str, Any]] = await db.query_raw(f'SELECT {column} AS meta FROM "User"')
        return rows

    assert (await db.user.update(where={"id": user.id}, data={"meta": rich.json(None)})).meta is None
    assert await stored() == [{"meta": "null"}]
    assert await db.user.count(where={"meta": {"equals": rich.json(None)}}) == 1
    assert await db.user.count(where={"meta": None}) == 0
    assert (await db.user.update(where={"id": user.id}, data={"meta": None})).meta is None
    assert await stored() == [{"meta": None}]
    assert await db.user.count(where={"meta": {"equals": rich.json(None)}}) == 0
    assert await db.user.count(where={"meta": None}) == 1
    assert await db.user.count(where={"meta": {"equals": None}}) == 1
    assert await db.user.update_many(where={}, data={"meta": rich.json(1)}) == 1
    assert await db.user.update_many(where={}, data={"meta": None}) == 1
    assert await stored() == [{"meta": None}]


@pytest.mark.parametrize("value", [{"a": 1}, [1], 5, True, "no json"], ids=str)
async def test_a_bare_value_for_a_json_column_is_refused(db: Any, rich: Rich, value: Any) -> None:
    with pytest.raises(rich.errors.InputError):
        await make_user(db, rich, meta=value)
    assert await db.user.count() == 0


@pytest.mark.parametrize(
    "value",
    [float("nan"), {"a": float("inf")}, "\ud800", {"\udfff": 1}, object()],
    ids=["nan", "infinity", "surrogate", "surrogate key", "object"],
)
async def test_json_that_no_database_can_hold_is_refused(db: Any, rich: Rich, value: Any) -> None:
    with pytest.raises(rich.errors.InputError):
        await make_user(db, rich, meta=rich.json(value))


@pytest.mark.parametrize("value", [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
async def test_big_integers_survive(db: Any, rich: Rich, value: int) -> None:
    user = await make_user(db, rich, big=value)
    assert user.big == value
    assert await db.user.count(where={"big": value}) == 1
    assert await db.user.count(where={"big": {"in": [value]}}) == 1


async def test_an_integer_that_does_not_fit_is_refused(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.DataError) as too_big:
        await make_user(db, rich, big=2**63)
    with pytest.raises(rich.errors.DataError) as too_big_for_int:
        await make_user(db, rich, visits=2**31)
    assert (too_big.value.code, too_big_for_int.value.code) == ("P2020", "P2020")


@pytest.mark.parametrize("value", [0.0, 0.1, 1e300, 5e-324, 3.0, -2.5])
async def test_floats_survive(db: Any, rich: Rich, value: float) -> None:
    user = await make_user(db, rich, ratio=value)
    assert repr(user.ratio) == repr(value)
    assert await db.user.count(where={"ratio": value}) == 1


@pytest.mark.parametrize("value", ["0", "12.345", "-99999.5", "0.1"])
async def test_decimals_survive(db: Any, rich: Rich, value: str) -> None:
    user = await make_user(db, rich, money=Decimal(value))
    assert user.money == Decimal(value)
    assert await db.user.count(where={"money": {"gte": Decimal(value)}}) == 1
    assert await db.user.count(where={"money": {"in": [Decimal(value), Decimal(7)]}}) == 1


@only_postgres
async def test_decimals_keep_all_their_digits_on_postgresql(db: Any, rich: Rich) -> None:
    value = Decimal("12345678901234567890.123456789012345678901234567891")
    assert (await make_user(db, rich, money=value)).money == value


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"text", bytes(range(256))], ids=len)
async def test_bytes_survive(db: Any, rich: Rich, value: bytes) -> None:
    user = await make_user(db, rich, blob=rich.package.Base64.encode(value))
    assert user.blob.decode() == value
    assert await db.user.count(where={"blob": rich.package.Base64.encode(value)}) == 1


async def test_times_keep_milliseconds_and_their_instant(db: Any, rich: Rich) -> None:
    zone = dt.timezone(dt.timedelta(hours=-7, minutes=-30))
    local = dt.datetime(2026, 2, 28, 23, 59, 59, 987654, tzinfo=zone)
    expected = dt.datetime(2026, 3, 1, 7, 29, 59, 987000, tzinfo=dt.UTC)
    user = await make_user(db, rich, at=local)
    assert user.at == expected
    assert user.at.tzinfo is not None
    assert await db.user.count(where={"at": local}) == 1
    assert await db.user.count(where={"at": {"gt": expected}}) == 0
    assert await db.user.count(where={"at": {"lte": expected.isoformat()}}) == 1
    naive = await db.user.update(where={"id": user.id}, data={"at": dt.datetime(2026, 1, 1)})  # noqa: DTZ001
    assert naive.at == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("text", ["", "a'b\"c", "100%", "a_b", "a\\b", "🙂", "%_%", "%1", "{}", "$1", "?"])
async def test_text_survives_and_is_found(db: Any, rich: Rich, text: str) -> None:
    user = await make_user(db, rich, f"<{text}>")
    await make_user(db, rich, "other")
    assert user.email == f"<{text}>"
    assert await db.user.count(where={"email": user.email}) == 1
    assert await db.user.count(where={"email": {"in": [user.email, "third"]}}) == 1
    if "\\" not in text:  # PostgreSQL's LIKE takes it as an escape, and Prisma leaves it so
        for operator in ("contains", "startswith", "endswith"):
            assert await db.user.count(where={"email": {operator: f"<{text}>"}}) == 1


async def test_contains_takes_percent_and_underscore_as_wildcards_as_prisma_does(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "axb")
    assert await db.user.count(where={"email": {"contains": "a_b"}}) == 1
    assert await db.user.count(where={"email": {"equals": "a_b"}}) == 0


async def test_text_that_cannot_be_stored_is_refused(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.InputError):
        await make_user(db, rich, "\ud800")
    if rich.provider == "postgresql":
        with pytest.raises(rich.errors.DataError):
            await make_user(db, rich, "a\x00b")
    assert await db.user.count() == 0


async def test_enums_are_stored_under_their_database_names(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "a", role="ADMIN")
    await make_user(db, rich, "b", role="USER")
    roles = __import__(f"{rich.package.__name__}.enums", fromlist=["Role"]).Role
    assert (await db.user.find_first(where={"role": "ADMIN"})).email == "a"
    assert (await db.user.find_first(where={"role": roles.ADMIN})).email == "a"
    assert await db.user.count(where={"role": {"in": ["ADMIN", "USER"]}}) == 2
    assert await db.user.count(where={"role": {"not_in": ["ADMIN"]}}) == 1
    assert await db.user.count(where={"role": {"not": "ADMIN"}}) == 1
    assert (await db.query_raw("SELECT role FROM \"User\" WHERE email = 'a'"))[0]["role"] == "adm"


async def test_null_is_found_by_none(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "none")
    await make_user(db, rich, "some", ratio=1.0, big=2, money=Decimal(3))
    for field in ("ratio", "big", "money"):
        assert [row.email for row in await db.user.find_many(where={field: None})] == ["none"]
        assert [row.email for row in await db.user.find_many(where={field: {"not": None}})] == ["some"]
    cleared = await db.user.update(where={"email": "some"}, data={"ratio": None, "big": None, "money": {"set": None}})
    assert (cleared.ratio, cleared.big, cleared.money) == (None, None, None)


async def test_and_or_not_and_empty_lists(db: Any, rich: Rich) -> None:
    for visits in range(4):
        await make_user(db, rich, f"u{visits}", visits=visits)

    async def found(where: Any) -> list[int]:
        return [row.visits for row in await db.user.find_many(where=where, order={"visits": "asc"})]

    assert await found({"OR": [{"visits": 0}, {"visits": 3}]}) == [0, 3]
    assert await found({"AND": [{"visits": {"gt": 0}}, {"visits": {"lt": 3}}]}) == [1, 2]
    assert await found({"NOT": [{"visits": 1}]}) == [0, 2, 3]
    assert await found({"visits": {"in": []}}) == []
    assert await found({"visits": {"not_in": []}}) == [0, 1, 2, 3]
    assert await found({"visits": {"not": {"in": [1, 2]}}}) == [0, 3]
    assert await found({"OR": []}) == []


async def test_an_unknown_field_or_operator_is_refused_not_ignored(db: Any, rich: Rich) -> None:
    await make_user(db, rich)
    with pytest.raises(rich.errors.FieldNotFoundError):
        await db.user.delete_many(where={"nope": 1})
    with pytest.raises(rich.errors.DataError):
        await db.user.delete_many(where={"visits": {"greater": 1}})
    with pytest.raises(rich.errors.DataError):
        await db.user.delete_many(where={"visits": "five"})
    assert await db.user.count() == 1


@only_postgres
async def test_lists_and_native_types_on_postgresql(db: Any, rich: Rich) -> None:
    uid = "11111111-2222-3333-4444-555555555555"
    noon = dt.datetime(2026, 5, 6, 12, 30, 15, 250000, tzinfo=dt.UTC)
    user = await make_user(
        db,
        rich,
        nick=["a", "b"],
        nums={"set": [1, 2]},
        roles=["ADMIN", "USER"],
        tz=noon,
        day=noon,
        clock=noon,
        uid=uid,
    )
    assert (user.nick, user.nums, user.roles, user.uid) == (["a", "b"], [1, 2], ["ADMIN", "USER"], uid)
    assert (user.tz, user.day) == (noon, dt.datetime(2026, 5, 6, tzinfo=dt.UTC))
    assert user.clock == dt.datetime(1970, 1, 1, 12, 30, 15, 250000, tzinfo=dt.UTC)
    pushed = await db.user.update(where={"id": user.id}, data={"nums": {"push": [3]}, "nick": {"set": []}})
    assert (pushed.nums, pushed.nick) == ([1, 2, 3], [])
    for where in (
        {"nums": {"has": 3}},
        {"nums": {"has_every": [1, 2]}},
        {"nums": {"has_some": [3, 9]}},
        {"nick": {"is_empty": True}},
        {"roles": {"has": "ADMIN"}},
        {"tz": noon},
        {"day": noon},
        {"clock": noon},
        {"uid": uid},
        {"uid": {"in": [uid]}},
    ):
        assert await db.user.count(where=where) == 1, where
    assert await db.user.count(where={"nums": {"has": 4}}) == 0


@only_postgres
async def test_text_is_compared_without_case_where_asked_on_postgresql(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "Ada@Example.org")
    assert await db.user.count(where={"email": {"contains": "EXAMPLE"}}) == 0
    assert await db.user.count(where={"email": {"contains": "EXAMPLE", "mode": "insensitive"}}) == 1


@only_postgres
async def test_json_paths_on_postgresql(db: Any, rich: Rich) -> None:
    await make_user(db, rich, meta=rich.json({"a": {"b": "hello"}}))
    assert await db.user.count(where={"meta": {"path": ["a", "b"], "equals": rich.json("hello")}}) == 1
    assert await db.user.count(where={"meta": {"path": ["a", "b"], "string_contains": "ell"}}) == 1
    assert await db.user.count(where={"meta": {"path": ["a", "c"], "equals": rich.json("hello")}}) == 0


async def test_more_values_than_the_database_takes_parameters(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "u7")
    emails = [f"u{number}" for number in range(40_000)]
    assert [row.email for row in await db.user.find_many(where={"email": {"in": emails}})] == ["u7"]
    assert await db.step.create_many(data=[{"runId": "r", "seq": n, "name": f"s{n}"} for n in range(12_000)]) == 12_000
