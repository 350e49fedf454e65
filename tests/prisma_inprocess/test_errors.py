"""Failures come as the client's own exceptions, with Prisma's codes and details, and without values."""

from __future__ import annotations

import datetime as dt
import traceback
from decimal import Decimal
from typing import Any

import pytest

from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.test_operations import make_user
from tests.prisma_inprocess.workbench import Rich


async def test_a_duplicate_names_its_fields(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "secret@example.org")
    with pytest.raises(rich.errors.UniqueViolationError) as failure:
        await make_user(db, rich, "secret@example.org")
    assert (failure.value.code, failure.value.meta["target"]) == ("P2002", ["email"])
    assert "secret" not in str(failure.value)
    await db.step.create(data={"runId": "r", "seq": 1, "name": "n"})
    with pytest.raises(rich.errors.UniqueViolationError) as compound:
        await db.step.create(data={"runId": "r", "seq": 2, "name": "n"})
    assert compound.value.meta["target"] == ["run_id", "step_name"]


async def test_a_missing_parent_is_a_foreign_key_violation(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.ForeignKeyViolationError) as failure:
        await db.post.create(data={"title": "t", "userId": "nobody"})
    assert failure.value.code == "P2003"


async def test_a_missing_value_is_named(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.MissingRequiredValueError, match="email"):
        await db.user.create(data={"settings": rich.json({})})


async def test_an_unknown_field_is_named(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.FieldNotFoundError, match="nope"):
        await db.user.find_many(where={"nope": 1})


async def test_a_violated_relation_is_refused(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich, posts={"create": [{"title": "p"}]})
    with pytest.raises(rich.errors.DataError) as failure:
        await db.user.delete(where={"id": user.id})
    assert failure.value.code in ("P2003", "P2014")
    assert await db.user.count() == 1


async def test_a_missing_table_is_named(db: Any, rich: Rich) -> None:
    await db.execute_raw('ALTER TABLE "Identifier" RENAME TO "Moved"')
    try:
        with pytest.raises(rich.errors.TableNotFoundError) as failure:
            await db.identifier.count()
        assert "Identifier" in str(failure.value.table)
    finally:
        await db.execute_raw('ALTER TABLE "Moved" RENAME TO "Identifier"')


async def test_a_missing_column_is_named(db: Any, rich: Rich) -> None:
    await db.execute_raw('ALTER TABLE "Tag" RENAME COLUMN name TO label')
    try:
        with pytest.raises(rich.errors.DataError, match="name") as failure:
            await db.tag.find_many()
        assert failure.value.code == "P2022"
    finally:
        await db.execute_raw('ALTER TABLE "Tag" RENAME COLUMN label TO name')


async def test_the_cause_is_kept(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.RawQueryError) as failure:
        await db.query_raw("SELECT nope")
    assert failure.value.__cause__ is not None


async def test_no_message_holds_a_value(db: Any, rich: Rich) -> None:
    secret = "hunter2-secret"
    await make_user(db, rich, secret)
    attempts = [
        db.user.find_many(where={"visits": secret}),
        db.user.find_many(where={"role": secret}),
        db.user.find_many(where={"at": secret}),
        db.user.find_many(where={"flag": secret}),
        db.user.find_many(take=secret),
        make_user(db, rich, secret),
        make_user(db, rich, "x", visits=secret),
        make_user(db, rich, "x", money=secret),
        make_user(db, rich, "x", blob=secret),
        make_user(db, rich, "x", meta=secret),
        db.post.create(data={"title": "t", "userId": secret}),
    ]
    if rich.provider == "postgresql":
        attempts += [
            db.user.find_many(where={"uid": secret}),
            db.user.find_many(where={"uid": {"in": [secret]}}),
            make_user(db, rich, "x", uid=secret),
        ]
    for attempt in attempts:
        with pytest.raises(rich.errors.DataError) as failure:
            await attempt
        assert secret not in str(failure.value) + str(failure.value.meta)
        assert failure.value.fault is None


@only_postgres
async def test_a_value_that_does_not_fit_its_column_is_named_by_its_fault_only(db: Any, rich: Rich) -> None:
    """The driver refuses some values before the server sees them."""
    await db.execute_raw("ALTER TABLE steps ALTER COLUMN seq TYPE SMALLINT")
    try:
        with pytest.raises(rich.errors.DataError) as too_large:
            await db.step.count(where={"seq": 123_456})
        assert (too_large.value.code, too_large.value.fault) == ("P2020", None)
        assert "123456" not in str(too_large.value)
        async with db.tx() as tx:
            with pytest.raises(rich.errors.DataError):
                await tx.step.count(where={"seq": 123_456})
            assert await tx.step.count() == 0  # it was never sent
    finally:
        await db.execute_raw("ALTER TABLE steps ALTER COLUMN seq TYPE INTEGER")


SECRET = "my-secret"
NOT_ALLOWED: list[tuple[str, Any]] = [
    ("money", SECRET),
    ("visits", SECRET),
    ("big", SECRET),
    ("ratio", SECRET),
    ("flag", SECRET),
    ("at", SECRET),
    ("blob", SECRET),
    ("role", SECRET),
    ("visits", 424242.5),
    ("big", 424242.5),
    ("flag", 424242),
    ("at", 424242),
    ("email", 424242),
]
NOT_ALLOWED_ON_POSTGRES: list[tuple[str, Any]] = [
    ("uid", SECRET),
    ("bossId", f"{SECRET}\0"),
    ("nums", [SECRET]),
    ("nums", [424242.5]),
    ("roles", [SECRET]),
    ("tz", SECRET),
    ("day", SECRET),
]


def shown(error: BaseException) -> str:
    """Everything that a log may show of an error: its text, details, and those of its causes."""
    return "".join(traceback.format_exception_only(error)) + repr(getattr(error, "meta", "")) + causes(error)


def causes(error: BaseException) -> str:
    seen = []
    while (cause := error.__cause__ or error.__context__) is not None:
        seen.append(repr(cause) + str(cause))
        error = cause
    return "".join(seen)


async def refuse(rich: Rich, db: Any, field: str, value: Any) -> None:
    for attempt in (
        lambda: make_user(db, rich, **{field: value}),
        lambda: db.user.find_many(where={field: {"equals": value}}),
        lambda: db.user.find_many(where={field: {"in": value if isinstance(value, list) else [value]}}),
        lambda: db.user.update_many(where={}, data={field: value}),
    ):
        with pytest.raises(rich.errors.PrismaError) as failure:
            await attempt()
        assert SECRET not in shown(failure.value)
        assert "424242" not in shown(failure.value)
        assert failure.value.code in ("P2007", "P2009", "P2019", "P2020")
    assert await db.user.count() == 0


@pytest.mark.parametrize(("field", "value"), NOT_ALLOWED, ids=str)
async def test_a_value_of_another_type_is_refused_and_not_shown(db: Any, rich: Rich, field: str, value: Any) -> None:
    await refuse(rich, db, field, value)


@only_postgres
@pytest.mark.parametrize(("field", "value"), NOT_ALLOWED_ON_POSTGRES, ids=repr)
async def test_a_value_of_another_native_type_is_refused_and_not_shown(
    db: Any, rich: Rich, field: str, value: Any
) -> None:
    await refuse(rich, db, field, value)


@only_postgres
async def test_values_that_do_not_fit_have_the_documented_codes(db: Any, rich: Rich) -> None:
    for data, code in (({"uid": SECRET}, "P2007"), ({"visits": 1.5}, "P2007"), ({"visits": 2**31}, "P2020")):
        with pytest.raises(rich.errors.DataError) as failure:
            await make_user(db, rich, **data)
        assert failure.value.code == code


@only_postgres
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT $1::int",
        "SELECT $1::numeric",
        "SELECT $1::uuid",
        "SELECT $1::date",
        "SELECT $1::timestamptz",
        "SELECT $1::inet",
        "SELECT $1::int[]",
        "SELECT $1::jsonb",
        "SELECT $1::interval",
        "SELECT $1::text::int",
        "SELECT $1::text::date",
        "SELECT $1::text::uuid",
        "SELECT $1::text::inet",
        "SELECT $1::text::json",
        'SELECT $1::text::"Role"',
        "SELECT $1::text::bit",
        "SELECT now() AT TIME ZONE $1::text",
    ],
)
async def test_a_raw_parameter_of_another_type_is_not_shown_on_postgresql(db: Any, rich: Rich, sql: str) -> None:
    with pytest.raises(rich.errors.RawQueryError) as failure:
        await db.query_raw(sql, SECRET)
    assert SECRET not in shown(failure.value)
    assert failure.value.code == "P2010"


@only_sqlite
async def test_a_text_that_cannot_be_read_is_not_shown_on_sqlite(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.RawQueryError) as failure:
        await db.query_raw("SELECT CAST(X'FF' AS TEXT) || ? AS x", SECRET)
    assert SECRET not in shown(failure.value)


@only_postgres
async def test_the_detail_of_a_constraint_is_not_shown(db: Any, rich: Rich) -> None:
    await make_user(db, rich, "secret@example.org")
    with pytest.raises(rich.errors.UniqueViolationError) as failure:
        await make_user(db, rich, "secret@example.org")
    assert "secret" not in shown(failure.value)


async def test_an_int_is_a_decimal(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich, money=5)
    assert user.money == Decimal(5)
    assert await db.user.count(where={"money": 5}) == 1
    assert await db.user.count(where={"money": {"in": [5, Decimal("1.5")]}}) == 1
    assert (await db.user.update(where={"id": user.id}, data={"money": {"increment": 2}})).money == Decimal(7)
    assert await db.user.update_many(where={"money": {"gt": 6}}, data={"money": 2**70}) == 1


@pytest.mark.parametrize("value", [1.0, 1.5, Decimal(1)], ids=repr)
async def test_a_fraction_is_not_an_int_even_a_whole_one(db: Any, rich: Rich, value: Any) -> None:
    user = await make_user(db, rich, visits=3, big=3)
    for data in ({"visits": value}, {"visits": {"increment": value}}, {"big": value}):
        with pytest.raises(rich.errors.DataError) as failure:
            await db.user.update(where={"id": user.id}, data=data)
        assert failure.value.code == "P2007"
    for where in ({"visits": value}, {"visits": {"in": [value]}}, {"visits": {"gt": value}}):
        with pytest.raises(rich.errors.DataError):
            await db.user.delete_many(where=where)
    assert await db.user.count(where={"visits": 3, "big": 3}) == 1


async def test_a_transaction_that_is_over_has_the_code_p2028(rich: Rich) -> None:
    async with rich.client() as client:
        transaction = client.tx(timeout=dt.timedelta(seconds=20))
        inner = await transaction.start()
        await transaction.commit()
        for attempt in (inner.user.count, transaction.commit, transaction.rollback):
            with pytest.raises(rich.errors.TransactionError) as failure:
                await attempt()
            assert failure.value.code == "P2028"
        with pytest.raises(rich.errors.TransactionNotStartedError) as failure:
            await client.tx().commit()
        assert failure.value.code == "P2028"
    with pytest.raises(rich.errors.ClientNotConnectedError) as failure:
        await client.user.count()
    assert failure.value.code == "P1017"
