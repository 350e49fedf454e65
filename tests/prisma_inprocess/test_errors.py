"""Failures come as the client's own exceptions, with Prisma's codes and details, and without values."""

from __future__ import annotations

from typing import Any

import pytest

from tests.prisma_inprocess.conftest import only_postgres
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
