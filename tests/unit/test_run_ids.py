"""Run ids: which a caller may choose, and what the engine reads in those that it makes itself."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, WorkflowContext
from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.entity import entity, entity_name, operation
from fastapi_durable.declare.queue import Queue
from fastapi_durable.declare.retry import exponential
from fastapi_durable.errors import DefinitionError, InputValidationError
from fastapi_durable.model.clock import from_millis, to_millis
from fastapi_durable.model.records import Run
from fastapi_durable.model.reserved import CALLER_ID_LIMIT, PREFIXES, SCHEDULE_RUN, engine_id
from fastapi_durable.model.run_ids import (
    DERIVED_ID_LIMIT,
    RUN_ID_LIMIT,
    checked_run_id,
    derived_run_id,
    next_run_id,
    origin_of,
    retry_run_id,
    root_of,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "names.md"


@pytest.mark.parametrize(
    ("run_id", "origin"),
    [
        ("order", None),
        ("order~retry~12345678", "order"),
        ("order~retry~12345678~2", "order"),
        ("order~retry~12345678~retry~abcdefgh", "order~retry~12345678"),
        ("order~retry~12345678.child.0", None),
        ("order~retry~12345678-mail", None),
    ],
)
def test_a_retry_stands_for_its_origin_and_its_children_do_not(run_id: str, origin: str | None) -> None:
    """A child of a retry would else tell the parent of the origin how it ended itself."""
    assert origin_of(run_id) == origin


def test_a_chain_is_counted_from_its_root() -> None:
    assert [next_run_id(each) for each in ("a", "a~1", "a~retry~12345678")] == ["a~1", "a~2", "a~retry~12345678~1"]
    assert root_of("a~retry~12345678~4") == "a~retry~12345678"


def test_a_body_may_name_runs_after_its_own_also_after_an_id_of_the_engine() -> None:
    """A scheduled run starts `sched:nightly:7-report`; nobody else may."""
    own = engine_id(SCHEDULE_RUN, "default", "nightly", "7")
    assert checked_run_id(f"{own}-report", inside=own) == f"{own}-report"
    for inside in (None, "sched:other:1"):
        with pytest.raises(InputValidationError, match="must not begin with 'sched'"):
            checked_run_id(f"{own}-report", inside=inside)
    with pytest.raises(InputValidationError, match="must not end like"):
        checked_run_id(f"{own}~1", inside=own)


def test_no_two_names_in_two_namespaces_make_one_id() -> None:
    ids = {engine_id(SCHEDULE_RUN, *names) for names in (("default", "a/b"), ("a", "b"), ("a:b", "c"), ("a", "b:c"))}
    assert len(ids) == 4


@pytest.mark.parametrize("name", ["@6.orders:x", "@"])
def test_a_queue_cannot_be_named_like_one_of_another_namespace(name: str) -> None:
    with pytest.raises(DefinitionError, match="must not begin with '@'"):
        Queue(name=name)


async def flow(ctx: WorkflowContext) -> None: ...


class Ledger:
    @operation
    def add(self) -> None: ...


@pytest.mark.parametrize(
    "declare",
    [
        lambda name: workflow(name=name)(flow),
        lambda name: workflow(updates={name: repr})(flow),
        lambda name: entity(name=name)(Ledger),
        entity_name,
    ],
    ids=["workflow", "update", "entity", "entity by name"],
)
def test_a_name_that_stands_beside_a_text_of_a_caller_has_no_colon(declare: Callable[[str], Any]) -> None:
    with pytest.raises(DefinitionError, match="must not contain ':'"):
        declare("a:b")


def test_a_workflow_cannot_be_named_like_one_of_the_engine() -> None:
    with pytest.raises(DefinitionError, match="must not begin with '__'"):

        @workflow(name="__entity")
        async def mine(ctx: WorkflowContext) -> None: ...


def test_an_id_that_is_made_of_another_one_leaves_room_for_what_cannot_be_refused() -> None:
    longest = derived_run_id("x" * DERIVED_ID_LIMIT, "a child", "")
    assert len(f"dlq:{longest}~{10**20}") <= RUN_ID_LIMIT
    with pytest.raises(InputValidationError, match="must have at most 550 bytes, got 551"):
        derived_run_id("x" * (DERIVED_ID_LIMIT + 1), "a child", "")
    assert len(retry_run_id("x" * CALLER_ID_LIMIT, "12345678")) <= DERIVED_ID_LIMIT


def test_no_run_id_is_an_address_of_the_console() -> None:
    """Each word that a route has in the place of an id is an id that a caller may not choose."""
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[])
    app = FastAPI()
    app.include_router(durable.router(allow_unauthenticated=True, include_in_schema=True))
    paths = [path.partition("/runs/")[2] for path, methods in app.openapi()["paths"].items() if "get" in methods]
    words = {re.sub(r"\{[^}]*\}", "x", path) for path in paths} - {"", "x"}
    assert words == {"facets", "stream", "x/stream", "x/values/x"}
    for word in words:
        with pytest.raises(InputValidationError, match="addresses of the console"):
            checked_run_id(word)


@pytest.mark.parametrize("run_id", [".", "..", "../x", "x/..", "a/./b", "a/../../b", "..\\x", "a\\..\\b"])
def test_no_run_id_leads_out_of_the_console(run_id: str) -> None:
    with pytest.raises(InputValidationError, match="as a part between slashes"):
        checked_run_id(run_id)


@pytest.mark.parametrize("run_id", ["...", "a..b", "..a/b.", "a/.b", "order.1/x"])
def test_dots_within_a_part_of_a_run_id_are_its_own(run_id: str) -> None:
    assert checked_run_id(run_id) == run_id


def test_the_documents_list_what_belongs_to_the_engine() -> None:
    """Word by word, with what it means."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for prefix in PREFIXES:
        kinds = ", ".join(kind for kind, holds in (("run ids", prefix.of_runs), ("tokens", prefix.of_tokens)) if holds)
        assert f"| `{prefix}` | {kinds} | {prefix.meaning} |" in text


def test_every_priority_that_can_be_stored_can_be_ordered() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    orders = [
        Run(id="r", workflow="w", workflow_version="1", priority=each, created_at=now, updated_at=now).claim_order
        for each in (2**31 - 1, 0, -(2**31))
    ]
    assert orders == sorted(orders)
    assert all(abs(order) < 2**63 for order in orders)


@pytest.mark.parametrize("millis", [2**63 - 1, 10**15, -(2**63)])
def test_a_stored_moment_beyond_all_dates_is_read_as_the_last_one(millis: int) -> None:
    """Another system may have written it; the listing that shows the run must not fail."""
    moment = from_millis(millis)
    assert moment.year in (1, 9999)
    assert from_millis(to_millis(moment)) == moment


def test_a_backoff_without_a_cap_ends_at_a_hundred_years() -> None:
    delay = exponential("1s", cap=None, jitter=False).delay(5000, lambda: 0.0)
    assert delay == timedelta(days=36_525)
    assert (datetime.now(UTC) + delay).year < 2200
