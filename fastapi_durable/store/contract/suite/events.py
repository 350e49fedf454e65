"""Buffered events."""

import pytest

from fastapi_durable.model.records import Json
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import an_event, at
from fastapi_durable.store.contract.suite.runs import EVERY_JSON_VALUE, same_type


async def ids(store: StateStore, name: str = "paid", limit: int = 50) -> list[str]:
    return [event.id for event in await store.list_buffered_events(name, limit=limit)]


class EventsContract:
    async def test_the_oldest_events_of_a_name_come_first(self, store: StateStore) -> None:
        """Listing does not consume; equal times are ordered by id, byte by byte."""
        for event in [an_event("c", seconds=1), an_event("b"), an_event("B"), an_event("x", "Paid")]:
            await store.buffer_event(event)
        assert await ids(store) == ["B", "b", "c"]
        assert await ids(store) == ["B", "b", "c"]
        assert await ids(store, "Paid") == ["x"]
        assert await ids(store, "pai") == []

    async def test_a_listing_is_limited_and_can_be_continued(self, store: StateStore) -> None:
        """What lies behind the first page can be reached."""
        events = [an_event(f"e{number}", seconds=number // 3) for number in range(10)]
        for event in reversed(events):
            await store.buffer_event(event)
        seen = []
        after = None
        while page := await store.list_buffered_events("paid", limit=4, after=after):
            assert len(page) <= 4
            seen += page
            after = page[-1]
        assert seen == events

    async def test_one_caller_removes_an_event(self, store: StateStore) -> None:
        await store.buffer_event(an_event("a"))
        await store.buffer_event(an_event("b"))
        assert await store.remove_buffered_event("a")
        assert not await store.remove_buffered_event("a")
        assert not await store.remove_buffered_event("nobody")
        assert await ids(store) == ["b"]

    async def test_the_same_event_again_changes_nothing(self, store: StateStore) -> None:
        await store.buffer_event(an_event("a", payload=1))
        await store.buffer_event(an_event("a", payload=2, seconds=5))
        assert await store.list_buffered_events("paid") == [an_event("a", payload=1)]

    @pytest.mark.parametrize("value", [*EVERY_JSON_VALUE, None], ids=lambda value: str(value)[:20])
    async def test_every_payload_of_an_event_comes_back_equal(self, store: StateStore, value: Json) -> None:
        await store.buffer_event(an_event("a", payload=value))
        (event,) = await store.list_buffered_events("paid")
        assert event == an_event("a", payload=value)
        assert same_type(event.payload, value)

    async def test_old_events_are_pruned_oldest_first(self, store: StateStore) -> None:
        for number in range(5):
            await store.buffer_event(an_event(str(number), name=f"name-{number % 2}", seconds=number))
        assert await store.prune_buffered_events(at(3), limit=2) == 2
        assert await ids(store, "name-0") == ["2", "4"]
        assert await store.prune_buffered_events(at(3), limit=2) == 1
        assert await store.prune_buffered_events(at(3), limit=2) == 0
        assert await ids(store, "name-1") == ["3"]
