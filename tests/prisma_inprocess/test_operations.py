"""Every method of the client, on both databases."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.workbench import Rich


async def make_user(db: Any, rich: Rich, email: str = "ada@example.org", **data: Any) -> Any:
    return await db.user.create(data={"email": email, "settings": rich.json({}), **data})


async def test_create_returns_the_row_with_its_defaults(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    assert (user.role, user.flag, user.visits, user.meta) == ("USER", True, 0, None)
    assert len(user.id) == 36
    assert user.cid.startswith("c")
    assert abs(user.at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    assert await db.user.find_unique(where={"id": user.id}) == user


async def test_create_many_counts_what_it_created(db: Any, rich: Rich) -> None:
    rows = [{"runId": "r", "seq": number, "name": f"s{number}"} for number in range(5)]
    assert await db.step.create_many(data=rows) == 5
    assert await db.step.count() == 5


@only_postgres
async def test_create_many_skips_duplicates_on_postgresql(db: Any) -> None:
    rows = [{"runId": "r", "seq": number, "name": f"s{number}"} for number in range(5)]
    await db.step.create_many(data=rows[:2])
    assert await db.step.create_many(data=rows, skip_duplicates=True) == 3


@only_sqlite
async def test_create_many_refuses_to_skip_duplicates_on_sqlite(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.UnsupportedDatabaseError):
        await db.step.create_many(data=[], skip_duplicates=True)


async def test_find_methods_agree_on_what_is_missing(db: Any, rich: Rich) -> None:
    assert await db.user.find_unique(where={"id": "nobody"}) is None
    assert await db.user.find_first(where={"id": "nobody"}) is None
    assert await db.user.find_many() == []
    with pytest.raises(rich.errors.RecordNotFoundError) as unique:
        await db.user.find_unique_or_raise(where={"id": "nobody"})
    with pytest.raises(rich.errors.RecordNotFoundError):
        await db.user.find_first_or_raise(where={"id": "nobody"})
    assert unique.value.code == "P2025"


async def test_update_changes_one_row_and_returns_it(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    changed = await db.user.update(where={"id": user.id}, data={"visits": {"increment": 2}, "role": "ADMIN"})
    assert (changed.visits, changed.role) == (2, "ADMIN")
    assert changed.updated >= user.updated
    assert await db.user.update(where={"id": "nobody"}, data={"visits": 1}) is None


async def test_update_many_counts_and_touches_only_what_matches(db: Any, rich: Rich) -> None:
    for number in range(4):
        await make_user(db, rich, f"u{number}@example.org", visits=number)
    changed = await db.user.update_many(where={"visits": {"gte": 2}}, data={"flag": False, "visits": {"multiply": 10}})
    assert changed == 2
    rows = await db.user.find_many(order={"visits": "asc"})
    assert [(row.visits, row.flag) for row in rows] == [(0, True), (1, True), (20, False), (30, False)]


async def test_upsert_creates_once_and_updates_afterwards(db: Any) -> None:
    async def upsert() -> Any:
        key = {"runId": "r", "seq": 1}
        return await db.step.upsert(
            where={"runId_seq": key}, data={"create": {**key, "name": "first"}, "update": {"name": "second"}}
        )

    assert (await upsert()).name == "first"
    assert (await upsert()).name == "second"
    assert await db.step.count() == 1


async def test_delete_returns_the_row_and_none_when_it_is_missing(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    assert (await db.user.delete(where={"email": user.email})).id == user.id
    assert await db.user.delete(where={"email": user.email}) is None


async def test_delete_many_counts(db: Any) -> None:
    await db.step.create_many(data=[{"runId": "r", "seq": number, "name": f"s{number}"} for number in range(5)])
    assert await db.step.delete_many(where={"seq": {"lt": 2}}) == 2
    assert await db.step.delete_many() == 3


async def test_compound_keys_find_update_and_delete(db: Any) -> None:
    await db.step.create(data={"runId": "r", "seq": 7, "name": "seven"})
    by_key = {"runId_seq": {"runId": "r", "seq": 7}}
    assert (await db.step.find_unique(where={"runId_name": {"runId": "r", "name": "seven"}})).seq == 7
    assert (await db.step.update(where=by_key, data={"name": "VII"})).name == "VII"
    assert (await db.step.delete(where=by_key)).name == "VII"


async def test_order_skip_take_cursor_and_distinct(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    for number in range(6):
        await db.post.create(data={"title": f"t{number % 3}", "views": number, "userId": user.id})

    async def views(**arguments: Any) -> list[int]:
        return [post.views for post in await db.post.find_many(**arguments)]

    assert await views(order={"views": "desc"}, take=2, skip=1) == [4, 3]
    assert await views(order=[{"title": "asc"}, {"views": "desc"}]) == [3, 0, 4, 1, 5, 2]
    assert await views(order={"views": "asc"}, take=-2) == [4, 5]
    third = await db.post.find_first(where={"views": 2})
    assert await views(order={"views": "asc"}, cursor={"id": third.id}, take=2) == [2, 3]
    assert await views(order={"views": "asc"}, cursor={"id": third.id}, take=2, skip=1) == [3, 4]
    assert await views(order={"views": "asc"}, cursor={"id": third.id}, take=-2) == [1, 2]
    assert len(await views(distinct=["title"])) == 3


async def test_include_reaches_relations_with_their_own_arguments(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich, posts={"create": [{"title": "a"}, {"title": "b"}, {"title": "c"}]})
    await db.profile.create(data={"bio": "hello", "user": {"connect": {"id": user.id}}})
    found = await db.user.find_unique(
        where={"id": user.id},
        include={
            "posts": {"where": {"title": {"not": "b"}}, "order_by": {"title": "desc"}, "include": {"user": True}},
            "profile": True,
            "boss": True,
        },
    )
    assert [post.title for post in found.posts] == ["c", "a"]
    assert found.posts[0].user.email == user.email
    assert (found.profile.bio, found.boss) == ("hello", None)
    first = await db.user.find_first(include={"posts": {"take": 1, "order_by": {"title": "desc"}}})
    assert [post.title for post in first.posts] == ["c"]


async def test_nested_writes_connect_create_and_disconnect(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    post = await db.post.create(
        data={"title": "p", "user": {"connect": {"id": user.id}}, "tags": {"create": [{"name": "x"}, {"name": "y"}]}},
        include={"tags": True},
    )
    assert sorted(tag.name for tag in post.tags) == ["x", "y"]
    by_id = {"id": post.id}
    post = await db.post.update(where=by_id, data={"tags": {"disconnect": [{"name": "x"}]}}, include={"tags": True})
    assert [tag.name for tag in post.tags] == ["y"]
    reuse = {"connect_or_create": [{"where": {"name": "x"}, "create": {"name": "x"}}]}
    post = await db.post.update(where=by_id, data={"tags": reuse}, include={"tags": True})
    assert sorted(tag.name for tag in post.tags) == ["x", "y"]
    assert await db.tag.count() == 2
    with pytest.raises(rich.errors.RecordNotFoundError):
        await db.post.create(data={"title": "q", "user": {"connect": {"id": "nobody"}}})


async def test_relation_filters(db: Any, rich: Rich) -> None:
    writer = await make_user(db, rich, "w@example.org", posts={"create": [{"title": "a", "views": 5}]})
    reader = await make_user(db, rich, "r@example.org", boss={"connect": {"id": writer.id}})

    async def emails(where: Any) -> list[str]:
        return [user.email for user in await db.user.find_many(where=where, order={"email": "asc"})]

    assert await emails({"posts": {"some": {"views": {"gt": 3}}}}) == [writer.email]
    assert await emails({"posts": {"none": {}}}) == [reader.email]
    assert await emails({"boss": {"is": {"email": writer.email}}}) == [reader.email]
    assert await emails({"boss": {"is": None}}) == [writer.email]
    assert await emails({"posts": {"every": {"views": 5}}}) == [reader.email, writer.email]


async def test_an_integer_divided_is_an_integer(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich, visits=7, big=-9)
    divided = {"visits": {"divide": 2}, "big": {"divide": 2}}
    changed = await db.user.update(where={"id": user.id}, data=divided)
    assert (changed.visits, changed.big) == (3, -4)
    assert await db.user.count(where={"visits": 3, "big": -4}) == 1


@only_postgres
async def test_values_of_an_enum_with_other_names_in_the_database_are_pushed(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich, roles=["USER"])
    changed = await db.user.update(where={"id": user.id}, data={"roles": {"push": ["ADMIN", "USER"]}})
    assert changed.roles == ["USER", "ADMIN", "USER"]


async def test_having_compares_an_average_of_integers_with_a_fraction(db: Any, rich: Rich) -> None:
    await make_user(db, rich, visits=1, big=1)
    await make_user(db, rich, "bob@example.org", visits=2, big=2)
    for field in ("visits", "big"):
        for condition, expected in (({"gte": 1.5, "lt": 1.6}, 1), ({"equals": 1.5}, 1), ({"gt": 1.5}, 0)):
            having = {field: {"_avg": condition}}
            groups = await db.user.group_by(by=["role"], order={"role": "asc"}, having=having)
            assert len(groups) == expected, having


@pytest.mark.parametrize("field", ["email", "role", "money", "blob", "flag", "big", "ratio", "at", "bossId"])
async def test_having_compares_the_count_of_a_field_of_any_type(db: Any, rich: Rich, field: str) -> None:
    bytes_ = rich.package.Base64.encode(b"x")
    values = {"money": 1, "blob": bytes_, "big": 1, "ratio": 1.5}
    await make_user(db, rich, id="boss", bossId="boss", **values)
    for count, expected in ((1, 1), (2, 0)):
        having = {field: {"_count": {"equals": count}}}
        assert len(await db.user.group_by(by=["visits"], order={"visits": "asc"}, having=having)) == expected


async def test_an_update_that_deletes_its_own_row_returns_none(db: Any, rich: Rich) -> None:
    await make_user(db, rich, id="own boss", bossId="own boss")
    assert await db.user.update(where={"id": "own boss"}, data={"boss": {"delete": True}}) is None
    assert await db.user.count() == 0


async def test_an_upsert_that_deletes_its_own_row_says_so(db: Any, rich: Rich) -> None:
    await make_user(db, rich, id="own boss", bossId="own boss")
    create = {"email": "x@example.org", "settings": rich.json({})}
    with pytest.raises(rich.errors.RecordNotFoundError, match="deleted by the update itself"):
        await db.user.upsert(where={"id": "own boss"}, data={"create": create, "update": {"boss": {"delete": True}}})
    assert await db.user.count() == 0


async def test_count_group_by_and_aggregates(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    for views, score in ((1, 10), (2, None), (3, 5)):
        await db.post.create(data={"title": "ab"[views % 2], "views": views, "score": score, "userId": user.id})
    assert await db.post.count(where={"views": {"gt": 1}}) == 2
    assert await db.post.count(take=2) == 2
    assert await db.post.count(select={"_all": True, "score": True}) == {"_all": 3, "score": 2}
    groups = await db.post.group_by(
        by=["title"], count=True, sum={"views": True}, avg={"views": True}, max={"score": True}, order={"title": "asc"}
    )
    assert groups == [
        {"title": "a", "_count": {"_all": 1}, "_sum": {"views": 2}, "_avg": {"views": 2.0}, "_max": {"score": None}},
        {"title": "b", "_count": {"_all": 2}, "_sum": {"views": 4}, "_avg": {"views": 2.0}, "_max": {"score": 10}},
    ]
    having = await db.post.group_by(by=["title"], count=True, having={"views": {"_sum": {"gt": 3}}})
    assert [group["title"] for group in having] == ["b"]


async def test_batch_writes_all_or_nothing(db: Any, rich: Rich) -> None:
    async with db.batch_() as batch:
        batch.step.create({"runId": "r", "seq": 1, "name": "one"})
        batch.step.create({"runId": "r", "seq": 2, "name": "two"})
        batch.step.update_many(where={"seq": 2}, data={"name": "zwei"})
    assert [step.name for step in await db.step.find_many(order={"seq": "asc"})] == ["one", "zwei"]
    batch = db.batch_()
    batch.step.delete_many()
    batch.step.create({"runId": "r", "seq": 3, "name": "three"})
    batch.step.create({"runId": "r", "seq": 3, "name": "again"})
    with pytest.raises(rich.errors.UniqueViolationError):
        await batch.commit()
    assert await db.step.count() == 2


async def test_generated_identifiers_have_their_shapes(db: Any) -> None:
    row = await db.identifier.create(data={})
    assert (row.uuid4[14], row.uuid7[14]) == ("4", "7")
    assert (len(row.cuid1), row.cuid1[0]) == (25, "c")
    assert (len(row.cuid2), len(row.nano), len(row.ulid)) == (24, 12, 26)
    rows = [await db.identifier.create(data={}) for _ in range(20)]
    assert (
        len({value for row in rows for value in (row.uuid4, row.uuid7, row.cuid1, row.cuid2, row.nano, row.ulid)})
        == 120
    )


async def test_model_methods_use_the_registered_client(db: Any, rich: Rich) -> None:
    user = await make_user(db, rich)
    actions = rich.models.User.prisma(db)
    assert (await actions.find_unique(where={"id": user.id})).email == user.email


async def test_a_context_manager_connects_and_disconnects(rich: Rich) -> None:
    async with rich.client() as client:
        assert client.is_connected()
        assert await client.user.count() == 0
    assert not client.is_connected()
    with pytest.raises(rich.errors.ClientNotConnectedError):
        await client.user.count()
    await client.connect()
    assert await client.user.count() == 0
    await client.disconnect()


async def test_many_rows_have_their_own_values_and_defaults(db: Any, rich: Rich) -> None:
    """Rows beyond a handful take another way than single ones."""
    emails = [f"u{number}" for number in range(300)]
    rows = [{"email": email, "settings": rich.json({"of": email}), "money": None, "role": "ADMIN"} for email in emails]
    assert await db.user.create_many(data=rows) == 300
    users = await db.user.find_many(order={"at": "asc"})
    assert sorted(user.email for user in users) == sorted(emails)
    assert all(user.settings == {"of": user.email} and user.role == "ADMIN" and user.money is None for user in users)
    assert len({user.id for user in users}) == len({user.cid for user in users}) == 300
    with pytest.raises(rich.errors.UniqueViolationError):
        await db.user.create_many(
            data=[{"email": f"n{number // 2}", "settings": rich.json({})} for number in range(50)]
        )
    assert await db.user.count() == 300


async def test_many_rows_of_different_shapes_are_created_too(db: Any) -> None:
    rows: list[dict[str, Any]] = [{"runId": "r", "seq": number, "name": f"s{number}"} for number in range(30)]
    rows[7]["output"] = None
    assert await db.step.create_many(data=rows) == 30
    assert await db.step.count() == 30


@only_postgres
async def test_many_rows_skip_duplicates_on_postgresql(db: Any) -> None:
    rows = [{"runId": "r", "seq": number, "name": f"s{number}"} for number in range(40)]
    await db.step.create_many(data=rows[:10])
    assert await db.step.create_many(data=rows, skip_duplicates=True) == 30
