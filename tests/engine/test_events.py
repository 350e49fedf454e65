"""Events reach everybody who waits for them, once; one that nobody wants yet is kept for a while."""

import asyncio
import secrets
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.subscription import Event, Reception
from fastapi_durable.engine.primitives.event import event_token, same_json
from fastapi_durable.model.errors import (
    InputValidationError,
    RunFailedError,
    SerializationError,
    SignalTimeoutError,
)
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore, StoreTransaction
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store


@workflow
async def wait_for_payment(ctx: WorkflowContext, order: str) -> Any:
    return await ctx.wait_for_event("paid", match={"order": order})


@workflow
async def wait_for_any(ctx: WorkflowContext) -> Any:
    return await ctx.wait_for_event("paid")


async def test_an_event_reaches_every_run_that_waits_for_one_like_it_and_no_other(store: StateStore) -> None:
    async with running_engine(store, wait_for_payment, wait_for_any) as engine:
        first = await engine.start(wait_for_payment, "1")
        also = await engine.start(wait_for_payment, "1")
        other = await engine.start(wait_for_payment, "2")
        anything = await engine.start(wait_for_any)
        for handle in (first, also, other, anything):
            await until(partial(has_status, handle, RunStatus.SUSPENDED))
        published = await engine.publish_event("paid", {"order": "1", "cents": 5})
        assert sorted(published.receivers) == sorted([first.run_id, also.run_id, anything.run_id])
        assert not published.buffered
        for handle in (first, also, anything):
            assert await handle.result("60s") == {"order": "1", "cents": 5}
        assert await other.status() is RunStatus.SUSPENDED


@on_every_store
async def test_a_kept_event_and_the_id_of_an_event_are_those_of_a_namespace(store: StateStore) -> None:
    acme_config, globex_config = tuned(FAST, namespace="acme"), tuned(FAST, namespace="globex")
    async with (
        running_engine(store, wait_for_any, config=acme_config) as acme,
        running_engine(store, wait_for_any, config=globex_config) as globex,
    ):
        anywhere = build_engine(store, wait_for_any)
        for engine, payload in ((acme, "acme's"), (globex, "globex's"), (anywhere, "nobody's")):
            published = await engine.publish_event("paid", payload, event_id="one")
            assert (published.buffered, published.duplicate) == (True, False)
            assert (await engine.publish_event("paid", payload, event_id="one")).duplicate
        assert await globex.execute(wait_for_any, timeout="60s") == "globex's"
        assert await acme.execute(wait_for_any, timeout="60s") == "acme's"
        # In the namespace `default` the reference's form stays.
        assert [event.payload for event in await store.list_buffered_events("paid")] == ["nobody's"]
        waiting = await globex.start(wait_for_any)
        await until(partial(has_status, waiting, RunStatus.SUSPENDED))
        assert (await acme.publish_event("paid", "acme's")).receivers == ()


async def test_an_event_that_nobody_wants_is_kept_once_and_goes_to_the_first_that_asks(store: StateStore) -> None:
    async with running_engine(store, wait_for_payment) as engine:
        assert (await engine.publish_event("paid", {"order": "1"})).buffered
        assert await (await engine.start(wait_for_payment, "1")).result("60s") == {"order": "1"}
        second = await engine.start(wait_for_payment, "1")
        await until(lambda: has_status(second, RunStatus.SUSPENDED))
        assert await store.list_buffered_events("paid") == []


async def test_an_event_without_a_buffer_is_gone_if_nobody_waits(store: StateStore) -> None:
    engine = build_engine(store, wait_for_payment)
    assert not (await engine.publish_event("paid", {"order": "1"}, buffer=False)).buffered
    assert await store.list_buffered_events("paid") == []


async def test_a_kept_event_is_found_behind_any_number_of_others(store: StateStore) -> None:
    """The reference looks at the fifty oldest."""
    async with running_engine(store, wait_for_payment) as engine:
        for number in range(450):
            await engine.publish_event("paid", {"order": f"other {number}"})
        await engine.publish_event("paid", {"order": "mine"})
        assert await (await engine.start(wait_for_payment, "mine")).result("60s") == {"order": "mine"}


async def test_more_waiters_than_fit_on_a_page_get_the_event(store: StateStore) -> None:
    async with running_engine(store, wait_for_any) as engine:
        handles = [await engine.start(wait_for_any) for _ in range(250)]

        async def all_wait() -> bool:
            return len(await store.list_signal_waiters(prefix="event:")) == 250

        await until(all_wait)
        assert len((await engine.publish_event("paid", 1)).receivers) == 250
        assert [await handle.result("60s") for handle in handles] == [1] * 250


async def test_an_event_of_a_known_id_is_passed_over(store: StateStore) -> None:
    """Also after the first one was received, or taken from the buffer."""
    async with running_engine(store, wait_for_any) as engine:
        assert (await engine.publish_event("paid", 1, event_id="e1")).buffered
        assert (await engine.publish_event("paid", 2, event_id="e1")).duplicate
        assert await (await engine.start(wait_for_any)).result("60s") == 1
        assert (await engine.publish_event("paid", 3, event_id="e1")).duplicate
        handle = await engine.start(wait_for_any)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert (await engine.publish_event("paid", 4, event_id="e2")).receivers == (handle.run_id,)
        assert (await engine.publish_event("paid", 5, event_id="e2")).duplicate
        assert (await engine.publish_event("refunded", 6, event_id="e1")).buffered


async def test_of_two_publishers_of_one_id_one_gets_through(store: StateStore) -> None:
    one, other = build_engine(store, wait_for_any), build_engine(store, wait_for_any)
    published = await asyncio.gather(
        *(engine.publish_event("paid", 1, event_id="e") for engine in (one, other) for _ in range(5))
    )
    assert sorted(each.duplicate for each in published) == [False] + [True] * 9
    assert len(await store.list_buffered_events("paid")) == 1


async def test_of_two_runs_that_ask_at_once_one_gets_the_kept_event(store: StateStore) -> None:
    async with running_engine(store, wait_for_any), running_engine(store, wait_for_any) as engine:
        await engine.publish_event("paid", "only one")
        handles = [await engine.start(wait_for_any) for _ in range(6)]

        async def settled() -> bool:
            waiting = len(await store.list_signal_waiters(prefix="event:"))
            done = [handle for handle in handles if await handle.status() is RunStatus.COMPLETED]
            return (len(done), waiting) == (1, 5)

        await until(settled)


async def test_a_kept_event_is_gone_after_its_time(store: StateStore) -> None:
    config = tuned(FAST, event_ttl=timedelta(milliseconds=1))
    async with running_engine(store, wait_for_any, config=config) as engine:
        await engine.publish_event("paid", "old", event_id="e")
        moment = engine._kernel.clock.now()

        async def is_old() -> bool:
            return engine._kernel.clock.now() > moment + timedelta(milliseconds=5)

        await until(is_old)
        handle = await engine.start(wait_for_any)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert (await engine.publish_event("other", 1, event_id="f")).buffered
        assert await store.list_buffered_events("paid") == []
        assert (await engine.publish_event("paid", "new", event_id="e")).receivers == (handle.run_id,)
        assert await handle.result("60s") == "new"


async def test_a_bounded_wait_for_an_event_times_out_the_same_on_a_replay(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        try:
            await ctx.wait_for_event("never", timeout="5ms")
            first = "event"
        except SignalTimeoutError as error:
            first = str(error)
        return [first, await ctx.wait_for_event("later", int)]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: _waits(store, "later"))
        await engine.publish_event("never", 1)
    async with running_engine(store, flow) as engine:
        await engine.publish_event("later", 2)
        said = "no signal 'event:never' arrived within 0:00:00.005000"
        assert await engine.handle(handle.run_id).result("60s") == [said, 2]
        assert len(await store.list_buffered_events("never")) == 1


async def _waits(store: StateStore, name: str) -> bool:
    prefix = event_token(name, {}, "", 0).rpartition("#")[0].rpartition(":")[0]
    return bool(await store.list_signal_waiters(prefix=prefix))


async def test_the_largest_match_that_is_accepted_fits_into_every_database(
    stores: tuple[StateStore, StateStore],
) -> None:
    wanted = {"key": secrets.token_hex(850)}

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        return await ctx.wait_for_event("paid", match=wanted)

    assert 2300 < len(event_token("paid", wanted, "run", 0)) <= 2400
    async with running_engine(stores[0], flow) as engine:
        handle = await engine.start(flow, run_id="run")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert (await engine.publish_event("paid", wanted)).receivers == ("run",)
        assert await handle.result("60s") == wanted


async def test_publishers_of_different_events_to_the_same_runs_do_not_block_each_other(
    stores: tuple[StateStore, StateStore],
) -> None:
    """Each run waits for both events at once, so both publishers want the same runs at the same time."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return list(await asyncio.gather(ctx.wait_for_event("left", int), ctx.wait_for_event("right", int)))

    async with running_engine(stores[0], flow) as engine:
        other = build_engine(stores[1], flow)
        handles = [await engine.start(flow) for _ in range(12)]

        async def all_wait() -> bool:
            return len(await stores[0].list_signal_waiters(prefix="event:")) == 24

        await until(all_wait)
        left, right = await asyncio.gather(engine.publish_event("left", 1), other.publish_event("right", 2))
        assert (len(left.receivers), len(right.receivers)) == (12, 12)
        for handle in handles:
            assert await handle.result("60s") == [1, 2]


async def test_a_payload_that_does_not_fit_fails_the_wait(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_event("number", int)

    async with running_engine(store, flow) as engine:
        await engine.publish_event("number", "seven")
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match="the payload of event 'number' does not fit int"):
            await handle.result("60s")


async def test_what_cannot_be_stored_is_refused(store: StateStore) -> None:
    engine = build_engine(store)
    for name in ("", "a\nb", "x" * 201):
        with pytest.raises(InputValidationError, match="the name of an event"):
            await engine.publish_event(name)
    with pytest.raises(InputValidationError, match="event_id must be printable"):
        await engine.publish_event("paid", event_id="\n")
    with pytest.raises(SerializationError, match="the payload of event 'paid'"):
        await engine.publish_event("paid", object())
    with pytest.raises(InputValidationError, match="Match on an id"):
        event_token("paid", {"text": "x" * 2000}, "run", 1)


async def test_a_subscriber_takes_part_in_the_transaction_of_the_event(store: StateStore) -> None:
    """What it does is done with the event or not at all; an event that it takes is not kept."""

    class Subscriber:
        fails = True

        def locks(self, _: Event) -> list[str]:
            return ["signal:touched"]

        async def receive(self, transaction: StoreTransaction, event: Event) -> Reception:
            await transaction.buffer_signal("touched", event.payload, now=event.published_at)
            if self.fails:
                raise RuntimeError("not today")
            return Reception(touched=["a run"])

    engine, subscriber = build_engine(store), Subscriber()
    engine.add_subscriber(subscriber)
    with pytest.raises(RuntimeError, match="not today"):
        await engine.publish_event("paid", 1, event_id="e")
    assert await store.take_buffered_signal("touched") is None
    subscriber.fails = False
    published = await engine.publish_event("paid", 1, event_id="e")
    assert (published.started, published.buffered) == (("a run",), False)
    assert await store.take_buffered_signal("touched") is not None


def test_the_token_of_a_waiter_is_the_one_of_the_reference() -> None:
    """base64 of the name, base64 of the match as compact JSON, run and position."""
    assert event_token("order.paid", {"id": "ü"}, "run-1", 3) == "event:b3JkZXIucGFpZA==:eyJpZCI6IsO8In0=:run-1#3"
    assert event_token("order.paid", {}, "run-1", 0) == "event:b3JkZXIucGFpZA==:e30=:run-1#0"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": {"c": [1], "d": None}}, {"b": {"d": None, "c": [1.0]}, "a": 1}, True),
        (1, True, False),
        (True, True, True),
        ([1, 2], [2, 1], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("1", 1, False),
        (None, None, True),
        (None, 0, False),
        ([True], [1], False),
    ],
)
def test_values_are_compared_by_their_structure(one: object, other: object, same: bool) -> None:
    assert same_json(one, other) is same
