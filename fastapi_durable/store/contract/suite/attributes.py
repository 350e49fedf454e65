"""Search attributes."""

import pytest

from fastapi_durable.model.records import AttributeFilter, AttributeOperator, RunQuery, RunStatus, SearchValue
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_run, at, create, existing, listed

OPERATORS: list[AttributeOperator] = ["eq", "ne", "gt", "gte", "lt", "lte"]


async def found(store: StateStore, *conditions: tuple[str, AttributeOperator, SearchValue]) -> str:
    """The ids (one letter each) that meet all conditions, in alphabetical order."""
    filters = tuple(AttributeFilter(*condition) for condition in conditions)
    return "".join(sorted(await listed(store, attributes=filters)))


class AttributesContract:
    async def test_numbers_are_compared_as_numbers(self, store: StateStore) -> None:
        for run_id, total in {"a": 9, "b": 10, "c": 10.5, "d": -100, "e": 1e20}.items():
            await create(store, a_run(run_id, search_attributes={"total": total}))
        await create(store, a_run("f", search_attributes={"total": "10"}), a_run("g"))
        assert await found(store, ("total", "eq", 10)) == "b"
        assert await found(store, ("total", "eq", 10.0)) == "b"
        assert await found(store, ("total", "ne", 10)) == "acde"
        assert await found(store, ("total", "gt", 10)) == "ce"
        assert await found(store, ("total", "gte", 10)) == "bce"
        assert await found(store, ("total", "lt", 10)) == "ad"
        assert await found(store, ("total", "lte", 10)) == "abd"

    async def test_texts_are_compared_byte_by_byte(self, store: StateStore) -> None:
        for run_id, name in {"a": "apple", "b": "Banana", "c": "cherry", "d": "", "e": "änne"}.items():
            await create(store, a_run(run_id, search_attributes={"name": name}))
        assert await found(store, ("name", "eq", "apple")) == "a"
        assert await found(store, ("name", "eq", "APPLE")) == ""
        assert await found(store, ("name", "eq", "")) == "d"
        assert await found(store, ("name", "ne", "apple")) == "bcde"
        assert await found(store, ("name", "gt", "apple")) == "ce"
        assert await found(store, ("name", "gte", "apple")) == "ace"
        assert await found(store, ("name", "lt", "apple")) == "bd"
        assert await found(store, ("name", "lte", "apple")) == "abd"

    async def test_all_conditions_must_hold(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", search_attributes={"total": 5, "vip": True}),
            a_run("b", search_attributes={"total": 50, "vip": True}),
            a_run("c", search_attributes={"total": 50, "vip": False}),
        )
        assert await found(store, ("total", "gt", 10), ("vip", "eq", True)) == "b"
        assert await found(store, ("total", "gt", 1), ("total", "lt", 10)) == "a"

    async def test_ne_does_not_match_a_run_without_the_key(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", search_attributes={"vip": True}),
            a_run("b", search_attributes={"vip": False}),
            a_run("c", search_attributes={"other": True}),
            a_run("d"),
        )
        assert await found(store, ("vip", "eq", True)) == "a"
        assert await found(store, ("vip", "eq", False)) == "b"
        assert await found(store, ("vip", "ne", True)) == "b"
        assert await found(store, ("vip", "ne", False)) == "a"

    async def test_a_boolean_is_not_the_text_that_spells_it(self, store: StateStore) -> None:
        """In the side table both are stored alike."""
        await create(
            store,
            a_run("a", search_attributes={"flag": True}),
            a_run("b", search_attributes={"flag": "true"}),
            a_run("c", search_attributes={"flag": 1}),
        )
        assert await found(store, ("flag", "eq", True)) == "a"
        assert await found(store, ("flag", "eq", "true")) == "b"
        assert await found(store, ("flag", "eq", 1)) == "c"
        assert await found(store, ("flag", "ne", False)) == "a"
        assert await found(store, ("flag", "ne", "false")) == "b"
        assert await found(store, ("flag", "gte", "a")) == "b"

    @pytest.mark.parametrize("operator", OPERATORS)
    @pytest.mark.parametrize("value", ["x", 1, True])
    async def test_an_absent_key_matches_nothing(
        self, store: StateStore, operator: AttributeOperator, value: SearchValue
    ) -> None:
        await create(store, a_run("a", search_attributes={"other": value}), a_run("b"))
        assert await found(store, ("key", operator, value)) == ""

    @pytest.mark.parametrize("operator", OPERATORS)
    async def test_another_type_matches_nothing(self, store: StateStore, operator: AttributeOperator) -> None:
        await create(store, a_run("a", search_attributes={"text": "5", "number": 5, "flag": True}))
        conditions: list[tuple[str, SearchValue]] = [
            ("text", 5),
            ("text", True),
            ("number", "5"),
            ("number", True),
            ("flag", 1),
            ("flag", "t"),
        ]
        for key, value in conditions:
            assert await found(store, (key, operator, value)) == "", (key, value)

    async def test_keys_are_texts_like_any_other(self, store: StateStore) -> None:
        keys = ["Key", "key", "a.b", "$", 'quo"te', "o'brien", "ключ", "k" * 200, ""]
        await create(store, a_run("a", search_attributes=dict.fromkeys(keys, True)))
        await create(store, a_run("b", search_attributes=dict.fromkeys(keys, "text")))
        assert (await existing(store, "a")).search_attributes == dict.fromkeys(keys, True)
        for key in keys:
            assert await found(store, (key, "eq", True)) == "a"
            assert await found(store, (key, "eq", "text")) == "b"

    async def test_of_very_many_attributes_none_is_left_out(self, store: StateStore) -> None:
        """More than a database takes parameters in one statement."""
        many = {f"k{number:05}": number for number in range(9_000)}
        await create(store, a_run(search_attributes=many))
        for key in ("k00000", "k08999"):
            assert await listed(store, attributes=(AttributeFilter(key, "eq", many[key]),)) == ["run-1"]
        assert (await existing(store)).search_attributes == many

    async def test_an_update_replaces_the_whole_set(self, store: StateStore) -> None:
        """Removed keys stop matching."""
        await create(store, a_run("a", search_attributes={"old": 1, "both": "x"}))
        await create(store, a_run("b", search_attributes={"old": 1}))
        assert await store.update_run("a", {"search_attributes": {"both": "y", "new": True}, "updated_at": at(1)})
        assert (await existing(store, "a")).search_attributes == {"both": "y", "new": True}
        assert await found(store, ("old", "eq", 1)) == "b"
        assert await found(store, ("both", "eq", "x")) == ""
        assert await found(store, ("both", "eq", "y")) == "a"
        assert await found(store, ("new", "eq", True)) == "a"
        assert await store.update_run("a", {"search_attributes": {}})
        assert await found(store, ("both", "eq", "y")) == ""

    async def test_attributes_go_with_status_limit_and_count(self, store: StateStore) -> None:
        for number in range(6):
            status = RunStatus.FAILED if number % 2 else RunStatus.COMPLETED
            await create(
                store, a_run(str(number), status=status, created_at=at(number), search_attributes={"n": number})
            )
        over_one = (AttributeFilter("n", "gt", 1),)
        assert await listed(store, attributes=over_one, status=RunStatus.FAILED) == ["5", "3"]
        assert await listed(store, attributes=over_one, limit=2) == ["5", "4"]
        assert await store.count_runs(RunQuery(attributes=over_one)) == 4

    async def test_a_deleted_run_no_longer_matches(self, store: StateStore) -> None:
        """Nor does a new run of the same id that has no attributes."""
        await create(store, a_run("a", search_attributes={"k": 1}))
        await store.delete_run("a")
        assert await found(store, ("k", "eq", 1)) == ""
        await create(store, a_run("a"))
        assert await found(store, ("k", "eq", 1)) == ""
