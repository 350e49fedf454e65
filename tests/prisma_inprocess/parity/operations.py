"""The operations that are compared: every method, every operator for every type, relations, nested writes, failures.

Each is a label and a function of the client; they run in this order on both sides, so later ones see what earlier
ones left behind.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

from tests.prisma_inprocess.workbench import Rich

Operation = tuple[str, Callable[[Any], Awaitable[Any]]]

NOON = dt.datetime(2026, 5, 6, 12, 30, 15, 250000, tzinfo=dt.UTC)
BEFORE = dt.datetime(1969, 7, 20, 20, 17, 40, 123000, tzinfo=dt.UTC)
ZONED = dt.datetime(2026, 3, 29, 2, 30, 0, 999999, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45)))
UID = "11111111-2222-3333-4444-555555555555"


def call(table: str, method: str, **arguments: Any) -> Callable[[Any], Awaitable[Any]]:
    """A call of one of the client's methods, made when the client is there."""

    async def made(db: Any) -> Any:
        return await getattr(getattr(db, table), method)(**arguments)

    return made


class Operations:
    """The operations for one provider."""

    def __init__(self, rich: Rich) -> None:
        self._rich = rich
        self._json = rich.json
        self._base64 = rich.package.Base64.encode
        self._postgres = rich.provider == "postgresql"
        # The official SQLite adapter refuses to read integers beyond 2**53.
        self._most = 2**63 - 1 if self._postgres else 2**53 - 1
        self._odd = 2**53 + 1 if self._postgres else 2**53 - 3

    def all(self) -> Iterator[Operation]:
        yield from self._creates()
        yield from self._scalar_filters()
        yield from self._json_values()
        yield from self._finds()
        yield from self._pages()
        yield from self._includes()
        yield from self._relation_filters()
        yield from self._aggregates()
        yield from self._updates()
        yield from self._nested_writes()
        yield from self._compound_keys()
        if self._postgres:
            yield from self._postgres_types()
        yield from self._failures()
        yield from self._deletes()

    def _user(self, number: int, **data: Any) -> dict[str, Any]:
        return {
            "id": f"u{number}",
            "cid": f"c{number}",
            "email": f"u{number}@example.org",
            "settings": self._json({}),
            "at": NOON,
            "updated": NOON,
            **data,
        }

    def _creates(self) -> Iterator[Operation]:
        rows = [
            self._user(1),
            self._user(
                2, role="ADMIN", flag=False, visits=2**31 - 1, big=self._most, ratio=0.1, money=Decimal("12.345")
            ),
            self._user(3, visits=-(2**31), big=-self._most, ratio=1e-300, money=Decimal("-99999.5"), at=BEFORE),
            self._user(4, blob=self._base64(b"\x00\xff\x10"), big=self._odd, ratio=-2.5, money=Decimal(0), at=ZONED),
            self._user(5, blob=self._base64(b""), ratio=3.5, bossId="u1", meta=self._json({"a": [1, {"b": None}]})),
            self._user(6, role="USER", email="a'b\"c\\d%_é🙂", meta=self._json(None), bossId="u1", big=0),
        ]
        for number, row in enumerate(rows, 1):
            yield f"create user {number}", call("user", "create", data=row)
        yield "create with defaults", call("identifier", "create", data={})
        yield (
            "create with generated id",
            call("profile", "create", data={"bio": "first", "user": {"connect": {"id": "u1"}}}),
        )
        yield "create unchecked", call("profile", "create", data={"bio": "second", "userId": "u2"})
        steps = [{"runId": "r", "seq": n, "name": f"s{n}", "output": self._json({"n": n})} for n in range(5)]
        yield "create_many", call("step", "create_many", data=steps)
        yield "create_many of one", call("step", "create_many", data=[{"runId": "q", "seq": 1, "name": "one"}])
        yield "create_many of none", call("step", "create_many", data=[])
        mixed = [
            {"runId": "q", "seq": 2, "name": "a"},
            {"runId": "q", "seq": 3, "name": "b", "output": self._json([1])},
        ]
        yield "create_many of different shapes", call("step", "create_many", data=mixed)
        yield (
            "create_many with defaults",
            call("tag", "create_many", data=[{"name": name} for name in ("red", "green", "blue", "black")]),
        )
        if self._postgres:
            yield "create_many skipping", call("step", "create_many", data=steps[:2], skip_duplicates=True)
        for number in range(1, 9):
            post = {
                "title": f"t{number % 3}",
                "views": number * 10,
                "score": None if number % 4 == 0 else number,
                "userId": f"u{number % 3 + 1}",
            }
            yield f"create post {number}", call("post", "create", data=post)

    def _scalar_filters(self) -> Iterator[Operation]:
        values: dict[str, tuple[Any, Any]] = {
            "email": ("u1@example.org", "zzz"),
            "visits": (0, 5),
            "big": (self._odd, -7),
            "ratio": (0.1, 3.5),
            "money": (Decimal("12.345"), Decimal(1)),
            "at": (NOON, BEFORE),
            "flag": (True, False),
            "role": ("ADMIN", "USER"),
            "blob": (self._base64(b"\x00\xff\x10"), self._base64(b"x")),
            "bossId": ("u1", "u2"),
        }
        ordered = ("email", "visits", "big", "ratio", "money", "at", "bossId")
        for field, (one, two) in values.items():
            filters: dict[str, Any] = {"plain": one, "equals": {"equals": one}, "not": {"not": one}}
            if field != "flag":
                filters |= {
                    "in": {"in": [one, two]},
                    "in one": {"in": [one]},
                    "in none": {"in": []},
                    "not_in": {"not_in": [one, two]},
                    "not in": {"not": {"in": [one]}},
                }
            if field in ordered:
                filters |= {operator: {operator: one} for operator in ("lt", "lte", "gt", "gte")}
                filters["range"] = {"gte": two, "lte": one}
            if field in ("email", "bossId"):
                filters |= {
                    operator: {operator: piece}
                    for operator, piece in (("contains", "1@e"), ("startswith", "u1"), ("endswith", "org"))
                }
                filters["contains wildcard"] = {"contains": "%"}
                filters["contains nothing"] = {"contains": ""}
            if field in ("big", "ratio", "money", "blob", "bossId"):
                filters |= {"null": None, "not null": {"not": None}, "equals null": {"equals": None}}
            for name, where in filters.items():
                yield (
                    f"filter {field} {name}",
                    call("user", "find_many", where={field: where}, order={"id": "asc"}),
                )
        if self._postgres:
            for operator in ("contains", "startswith", "endswith", "equals"):
                where = {"email": {operator: "U1@EXAMPLE.ORG", "mode": "insensitive"}}
                yield f"filter insensitive {operator}", call("user", "find_many", where=where)

    def _json_values(self) -> Iterator[Operation]:
        values = [{}, [], {"a": {"b": [1, "x", None]}}, {"increment": 1}, [["a"], ["b"]], "text", "", 0, 1.5, self._odd]
        values += [True, False, None, 'q"uote', {"é": "🙂"}, {"$type": "Json", "value": "1"}]
        for value in values:
            data = {"meta": self._json(value), "settings": self._json(value)}
            yield f"json update {value!r}", call("user", "update", where={"id": "u1"}, data=data)
            yield (
                f"json equals {value!r}",
                call("user", "find_many", where={"meta": {"equals": data["meta"]}}, order={"id": "asc"}),
            )
        yield "json sql null", call("user", "update", where={"id": "u1"}, data={"meta": None})
        yield "json is sql null", call("user", "find_many", where={"meta": {"equals": None}}, order={"id": "asc"})
        yield "json is not sql null", call("user", "find_many", where={"meta": {"not": None}}, order={"id": "asc"})
        yield "json not", call("user", "find_many", where={"meta": {"not": self._json(1)}}, order={"id": "asc"})
        yield "json update_many", call("user", "update_many", where={"id": "u5"}, data={"meta": self._json([1])})
        if self._postgres:
            nested = self._json({"a": {"b": "hello", "n": 5, "l": [1, 2, 3]}})
            yield "json for paths", call("user", "update", where={"id": "u2"}, data={"meta": nested})
            for label, where in {
                "equals": {"path": ["a", "b"], "equals": self._json("hello")},
                "not": {"path": ["a", "b"], "not": self._json("hello")},
                "string_contains": {"path": ["a", "b"], "string_contains": "ell"},
                "string_starts_with": {"path": ["a", "b"], "string_starts_with": "he"},
                "string_ends_with": {"path": ["a", "b"], "string_ends_with": "lo"},
                "array_contains": {"path": ["a", "l"], "array_contains": self._json([1])},
                "missing": {"path": ["a", "zzz"], "equals": self._json(1)},
            }.items():
                yield f"json path {label}", call("user", "find_many", where={"meta": where})

    def _finds(self) -> Iterator[Operation]:
        yield "find_unique", call("user", "find_unique", where={"id": "u1"})
        yield "find_unique by other key", call("user", "find_unique", where={"email": "u2@example.org"})
        yield "find_unique with filter", call("user", "find_unique", where={"id": "u1", "flag": False})
        yield "find_unique missing", call("user", "find_unique", where={"id": "nobody"})
        yield "find_unique_or_raise", call("user", "find_unique_or_raise", where={"id": "u1"})
        yield "find_unique_or_raise missing", call("user", "find_unique_or_raise", where={"id": "nobody"})
        yield "find_first", call("user", "find_first", where={"flag": True}, order={"id": "desc"})
        yield "find_first missing", call("user", "find_first", where={"id": "nobody"})
        yield "find_first_or_raise missing", call("user", "find_first_or_raise", where={"id": "nobody"})
        yield "find_first skip", call("user", "find_first", skip=2, order={"id": "asc"})
        for label, where in {
            "and": {"AND": [{"flag": True}, {"visits": {"lt": 1}}]},
            "or": {"OR": [{"id": "u1"}, {"id": "u3"}]},
            "not": {"NOT": [{"id": "u1"}]},
            "nested": {"OR": [{"AND": [{"flag": True}, {"NOT": [{"id": "u1"}]}]}, {"role": "ADMIN"}]},
            "or of none": {"OR": []},
            "and of none": {"AND": []},
            "empty": {},
        }.items():
            yield f"where {label}", call("user", "find_many", where=where, order={"id": "asc"})

    def _pages(self) -> Iterator[Operation]:
        pages: dict[str, dict[str, Any]] = {
            "order desc": {"order": {"views": "desc"}},
            "order two": {"order": [{"title": "asc"}, {"views": "desc"}]},
            "order nullable": {"order": [{"score": "asc"}, {"id": "asc"}]},
            "order by relation": {"order": [{"user": {"email": "desc"}}, {"id": "asc"}]},
            "take": {"take": 3, "order": {"id": "asc"}},
            "take zero": {"take": 0},
            "take back": {"take": -3, "order": {"id": "asc"}},
            "skip": {"skip": 2, "order": {"id": "asc"}},
            "take skip": {"take": 2, "skip": 3, "order": {"views": "desc"}},
            "cursor": {"cursor": {"id": 3}, "order": {"id": "asc"}},
            "cursor take": {"cursor": {"id": 3}, "take": 2, "order": {"id": "asc"}},
            "cursor skip": {"cursor": {"id": 3}, "skip": 1, "take": 2, "order": {"id": "asc"}},
            "cursor back": {"cursor": {"id": 5}, "take": -3, "order": {"id": "asc"}},
            "cursor missing": {"cursor": {"id": 999}, "order": {"id": "asc"}},
            "cursor other order": {"cursor": {"id": 3}, "order": [{"title": "asc"}, {"id": "asc"}], "take": 3},
            "distinct": {"distinct": ["title"], "order": {"id": "asc"}},
            "distinct two": {"distinct": ["title", "userId"], "order": {"id": "asc"}},
            "distinct take": {"distinct": ["title"], "take": 2, "order": {"id": "asc"}},
            "distinct skip": {"distinct": ["title"], "skip": 1, "order": {"id": "asc"}},
        }
        for label, arguments in pages.items():
            yield f"page {label}", call("post", "find_many", **arguments)
        order = {"posts": {"_count": "desc"}}
        yield "order by count", call("user", "find_many", order=[order, {"id": "asc"}])

    def _includes(self) -> Iterator[Operation]:
        posts = {"order_by": {"id": "asc"}}
        for label, include in {
            "to many": {"posts": posts},
            "to one": {"profile": True},
            "self": {"boss": True, "reports": {"order_by": {"id": "asc"}}},
            "where": {"posts": {"where": {"views": {"gt": 20}}, **posts}},
            "take": {"posts": {"take": 1, "order_by": {"views": "desc"}}},
            "take back": {"posts": {"take": -2, **posts}},
            "skip": {"posts": {"skip": 1, **posts}},
            "cursor": {"posts": {"cursor": {"id": 4}, **posts}},
            "nested": {"posts": {"include": {"user": {"include": {"profile": True}}}, **posts}},
            "many to many": {"posts": {"include": {"tags": {"order_by": {"id": "asc"}}}, **posts}},
            "none": {"posts": False},
            "everything": {"posts": posts, "profile": True, "boss": {"include": {"boss": True}}},
        }.items():
            yield (
                f"include {label}",
                call("user", "find_many", include=include, order={"id": "asc"}),
            )
        yield "include unique", call("user", "find_unique", where={"id": "u1"}, include={"posts": posts})
        yield "include missing", call("user", "find_unique", where={"id": "nobody"}, include={"posts": posts})
        yield "include from many", call("post", "find_many", include={"user": True}, order={"id": "asc"})

    def _relation_filters(self) -> Iterator[Operation]:
        for label, where in {
            "some": {"posts": {"some": {"views": {"gt": 30}}}},
            "some any": {"posts": {"some": {}}},
            "none": {"posts": {"none": {"views": {"gt": 30}}}},
            "every": {"posts": {"every": {"views": {"gt": 10}}}},
            "is": {"boss": {"is": {"id": "u1"}}},
            "is_not": {"boss": {"is_not": {"id": "u1"}}},
            "is null": {"boss": {"is": None}},
            "is not null": {"boss": {"is_not": None}},
            "one": {"profile": {"is": {"bio": {"contains": "i"}}}},
            "deep": {"posts": {"some": {"user": {"is": {"profile": {"is": {"bio": "first"}}}}}}},
        }.items():
            yield f"relation {label}", call("user", "find_many", where=where, order={"id": "asc"})

    def _aggregates(self) -> Iterator[Operation]:
        yield (
            "count",
            call(
                "post",
                "count",
            ),
        )
        yield "count where", call("post", "count", where={"views": {"gt": 20}})
        yield "count select", call("post", "count", select={"_all": True, "score": True, "title": True})
        yield "count take", call("post", "count", take=3)
        yield "count skip", call("post", "count", skip=3)
        yield "count cursor", call("post", "count", cursor={"id": 3})
        by = {"by": ["title"], "order": {"title": "asc"}}
        aggregates: dict[str, dict[str, Any]] = {
            "plain": {},
            "count": {"count": True},
            "count fields": {"count": {"_all": True, "score": True}},
            "sum": {"sum": {"views": True, "score": True}},
            "avg": {"avg": {"views": True, "score": True}},
            "min max": {"min": {"views": True, "title": True}, "max": {"score": True}},
            "where": {"count": True, "where": {"views": {"gt": 30}}},
            "take": {"count": True, "take": 2, "skip": 1},
            "having sum": {"having": {"views": {"_sum": {"gt": 100}}}, "sum": {"views": True}},
            "having count": {"having": {"score": {"_count": {"gt": 1}}}},
            "having plain": {"having": {"title": {"in": ["t1", "t2"]}}},
            "having avg": {"having": {"views": {"_avg": {"lte": 45.5}}}},
        }
        for label, arguments in aggregates.items():
            yield f"group {label}", call("post", "group_by", **by, **arguments)
        yield (
            "group two",
            call("post", "group_by", by=["title", "userId"], order=[{"title": "asc"}, {"userId": "asc"}]),
        )
        fields = {"big": True, "ratio": True, "money": True}
        yield "group types", call("user", "group_by", by=["flag"], max=fields, order={"flag": "asc"})
        yield (
            "group sums",
            call("user", "group_by", by=["role"], sum={"ratio": True, "money": True}, order={"role": "asc"}),
        )
        times = {"at": True, "updated": True}
        yield "group times", call("user", "group_by", by=["role"], min=times, order={"role": "asc"})

    def _updates(self) -> Iterator[Operation]:
        for label, data in {
            "set": {"visits": {"set": 5}},
            "plain": {"visits": 6},
            "increment": {"visits": {"increment": 2}},
            "decrement": {"visits": {"decrement": 1}},
            "multiply": {"visits": {"multiply": 3}},
            "divide": {"visits": {"divide": 2}},
            "float": {"ratio": {"increment": 0.25}},
            "float multiply": {"ratio": {"multiply": 2}},
            "big": {"big": {"increment": 1}},
            "big set": {"big": self._most - 1},
            "decimal": {"money": Decimal("7.75")},
            "decimal increment": {"money": {"increment": Decimal("0.25")}},
            "null": {"ratio": None, "big": None, "money": None, "blob": None},
            "enum": {"role": "ADMIN"},
            "bytes": {"blob": self._base64(b"new")},
            "boolean": {"flag": False},
            "time": {"at": ZONED},
            "text": {"email": "changed@example.org"},
            "text back": {"email": "u1@example.org"},
            "nothing": {},
            "key": {"id": "u1x"},
        }.items():
            yield f"update {label}", call("user", "update", where={"id": "u1"}, data=data)
        yield "update key back", call("user", "update", where={"id": "u1x"}, data={"id": "u1"})
        yield "update missing", call("user", "update", where={"id": "nobody"}, data={"visits": 1})
        yield "update filtered", call("user", "update", where={"id": "u1", "visits": 999}, data={"visits": 1})
        yield (
            "update include",
            call("user", "update", where={"id": "u1"}, data={"visits": 1}, include={"profile": True}),
        )
        many = {"role": "USER"}
        yield "update_many", call("user", "update_many", where=many, data={"flag": True, "visits": {"increment": 1}})
        yield "update_many none", call("user", "update_many", where={"id": "nobody"}, data={"flag": False})
        yield "update_many all", call("post", "update_many", where={}, data={"score": {"increment": 1}})
        key = {"runId": "up", "seq": 1}
        for label in ("creates", "updates"):
            yield (
                f"upsert {label}",
                call(
                    "step",
                    "upsert",
                    where={"runId_seq": key},
                    data={"create": {**key, "name": "new"}, "update": {"name": "old"}},
                ),
            )
        other = {"create": {"runId": "up", "seq": 3, "name": "n3"}, "update": {"name": "n2"}}
        yield "upsert emulated", call("step", "upsert", where={"runId_seq": {"runId": "up", "seq": 2}}, data=other)
        tag = {"create": {"name": "white"}, "update": {"name": "white"}}
        yield "upsert by unique", call("tag", "upsert", where={"name": "white"}, data=tag)
        yield (
            "upsert by unique again",
            call("tag", "upsert", where={"name": "white"}, data=tag, include={"posts": True}),
        )

    def _nested_writes(self) -> Iterator[Operation]:
        posts = {"posts": {"order_by": {"id": "asc"}}}
        yield (
            "nested create",
            call(
                "user",
                "create",
                data=self._user(
                    7, posts={"create": [{"title": "n1"}, {"title": "n2"}]}, profile={"create": {"bio": "b"}}
                ),
                include={**posts, "profile": True},
            ),
        )
        for label, data in {
            "create": {"create": [{"title": "n3"}]},
            "create one": {"create": {"title": "n4"}},
            "connect": {"connect": [{"id": 1}]},
            "connect two": {"connect": [{"id": 2}, {"id": 3}]},
            "update": {"update": [{"where": {"id": 1}, "data": {"title": "renamed"}}]},
            "update_many": {"update_many": [{"where": {"title": "n3"}, "data": {"views": 7}}]},
            "upsert": {
                "upsert": [{"where": {"id": 1}, "create": {"title": "x"}, "update": {"views": {"increment": 1}}}]
            },
            "connect_or_create": {"connect_or_create": [{"where": {"id": 4}, "create": {"title": "y"}}]},
            "delete_many": {"delete_many": [{"title": "n4"}]},
            "delete": {"delete": [{"id": 2}]},
        }.items():
            yield (
                f"nested to many {label}",
                call("user", "update", where={"id": "u7"}, data={"posts": data}, include=posts),
            )
        tags = {"tags": {"order_by": {"id": "asc"}}}
        for label, data in {
            "connect": {"connect": [{"name": "red"}, {"name": "blue"}]},
            "create": {"create": [{"name": "pink"}]},
            "connect_or_create": {"connect_or_create": [{"where": {"name": "cyan"}, "create": {"name": "cyan"}}]},
            "connect_or_create again": {"connect_or_create": [{"where": {"name": "red"}, "create": {"name": "red"}}]},
            "disconnect": {"disconnect": [{"name": "red"}]},
            "set": {"set": [{"name": "green"}, {"name": "blue"}]},
            "set none": {"set": []},
            "connect again": {"connect": [{"name": "green"}]},
            "update": {"update": [{"where": {"name": "green"}, "data": {"name": "lime"}}]},
            "delete": {"delete": [{"name": "lime"}]},
        }.items():
            yield (
                f"nested many to many {label}",
                call("post", "update", where={"id": 1}, data={"tags": data}, include=tags),
            )
        yield "many to many some", call("post", "find_many", where={"tags": {"some": {"name": "blue"}}})
        yield "many to many back", call("tag", "find_many", include={"posts": True}, order={"id": "asc"})
        profile = {"profile": True}
        for label, data in {
            "update": {"update": {"bio": "changed"}},
            "upsert": {"upsert": {"create": {"bio": "c"}, "update": {"bio": "u"}}},
            "delete": {"delete": True},
            "upsert creates": {"upsert": {"create": {"bio": "c"}, "update": {"bio": "u"}}},
        }.items():
            yield (
                f"nested to one {label}",
                call("user", "update", where={"id": "u7"}, data={"profile": data}, include=profile),
            )
        for label, data in {
            "connect": {"connect": {"id": "u2"}},
            "disconnect": {"disconnect": True},
            "create": {"create": self._user(8)},
        }.items():
            yield (
                f"nested self {label}",
                call("user", "update", where={"id": "u7"}, data={"boss": data}, include={"boss": True}),
            )

    def _compound_keys(self) -> Iterator[Operation]:
        key = {"runId_seq": {"runId": "r", "seq": 1}}
        name = {"runId_name": {"runId": "r", "name": "s2"}}
        yield "compound find", call("step", "find_unique", where=key)
        yield "compound find by unique", call("step", "find_unique", where=name)
        yield "compound update", call("step", "update", where=name, data={"name": "two"})
        yield (
            "compound cursor",
            call("step", "find_many", cursor=key, take=2, order=[{"runId": "asc"}, {"seq": "asc"}]),
        )
        yield "compound delete", call("step", "delete", where=key)
        yield "compound missing", call("step", "delete", where=key)

    def _postgres_types(self) -> Iterator[Operation]:
        lists = {"nick": ["a", "b"], "nums": {"set": [1, 2]}, "roles": ["ADMIN", "USER"]}
        native = {"tz": NOON, "day": NOON, "clock": NOON, "uid": UID}
        yield "list create", call("user", "create", data=self._user(9, **lists, **native))
        yield "list create other", call("user", "create", data=self._user(10, nums=[], nick=[""]))
        yield "list push", call("user", "update", where={"id": "u9"}, data={"nums": {"push": [3, 4]}})
        yield "list push one", call("user", "update", where={"id": "u9"}, data={"nick": {"push": ["c"]}})
        yield "list push enum", call("user", "update", where={"id": "u9"}, data={"roles": {"push": ["USER"]}})
        yield "list set", call("user", "update", where={"id": "u9"}, data={"nick": {"set": ["x", 'y"', "{z}"]}})
        yield "list plain", call("user", "update", where={"id": "u9"}, data={"nick": ["p", "q"]})
        for label, where in {
            "has": {"nums": {"has": 3}},
            "has not": {"nums": {"has": 77}},
            "has_every": {"nums": {"has_every": [1, 2]}},
            "has_some": {"nums": {"has_some": [4, 99]}},
            "has_some none": {"nums": {"has_some": []}},
            "is_empty": {"nums": {"is_empty": True}},
            "not empty": {"nums": {"is_empty": False}},
            "equals": {"nums": {"equals": [1, 2, 3, 4]}},
            "text": {"nick": {"has": "p"}},
            "enum": {"roles": {"has": "ADMIN"}},
            "enum some": {"roles": {"has_some": ["USER"]}},
        }.items():
            yield f"list filter {label}", call("user", "find_many", where=where, order={"id": "asc"})
        for field, value in native.items():
            for operator in ("equals", "gte", "lt", "not", "in", "not_in"):
                where = {field: {operator: [value] if "in" in operator else value}}
                yield f"native {field} {operator}", call("user", "find_many", where=where)
        yield (
            "native update",
            call("user", "update", where={"id": "u9"}, data={"tz": BEFORE, "day": BEFORE, "clock": ZONED}),
        )
        yield "native null", call("user", "update", where={"id": "u9"}, data={"tz": None, "day": None, "uid": None})
        wide = Decimal("12345678901234567890.123456789012345678901234567891")
        yield "decimal wide", call("user", "update", where={"id": "u9"}, data={"money": wide})
        yield "decimal wide filter", call("user", "find_many", where={"money": {"equals": wide}})

    def _failures(self) -> Iterator[Operation]:
        yield "fail unique", call("user", "create", data=self._user(1))
        yield "fail unique text", call("tag", "create", data={"name": "blue"})
        yield "fail unique compound", call("step", "create", data={"runId": "r", "seq": 0, "name": "again"})
        yield "fail unique update", call("user", "update", where={"id": "u2"}, data={"email": "u3@example.org"})
        yield "fail unique many", call("tag", "create_many", data=[{"name": "gold"}, {"name": "blue"}])
        yield "fail foreign key", call("post", "create", data={"title": "t", "userId": "nobody"})
        yield "fail connect", call("post", "create", data={"title": "t", "user": {"connect": {"id": "nobody"}}})
        yield (
            "fail connect many",
            call("post", "update", where={"id": 1}, data={"tags": {"connect": [{"name": "none"}]}}),
        )
        yield "fail field", call("user", "find_many", where={"nope": 1})
        yield "fail operator", call("user", "find_many", where={"visits": {"greater": 1}})
        yield "fail type", call("user", "find_many", where={"visits": "five"})
        yield "fail missing value", call("user", "create", data={"email": "x"})
        yield "fail null", call("user", "update", where={"id": "u2"}, data={"email": None})
        yield "fail enum", call("user", "find_many", where={"role": "NOBODY"})
        yield "fail two keys", call("user", "find_unique", where={})
        yield (
            "fail nested delete",
            call("user", "update", where={"id": "u2"}, data={"posts": {"delete": [{"id": 999}]}}),
        )
        yield "fail relation", call("user", "delete", where={"id": "u1"})
        yield "fail order", call("user", "find_many", order={"nope": "asc"})
        if self._postgres:  # SQLite knows no 32-bit columns
            yield "fail overflow", call("user", "update", where={"id": "u2"}, data={"visits": {"multiply": 2**30}})

    def _deletes(self) -> Iterator[Operation]:
        yield "delete", call("post", "delete", where={"id": 3})
        yield "delete again", call("post", "delete", where={"id": 3})
        yield "delete include", call("post", "delete", where={"id": 4}, include={"user": True, "tags": True})
        yield "delete_many", call("post", "delete_many", where={"userId": "u2"})
        yield "delete cascade", call("user", "delete", where={"id": "u2"})
        yield "delete sets null", call("user", "delete_many", where={"id": "u8"})
        yield "delete_many none", call("step", "delete_many", where={"runId": "nothing"})
        yield (
            "delete_many all",
            call(
                "step",
                "delete_many",
            ),
        )
