"""Every primitive in every situation: the table of what this library promises.

One row is a case of the catalogue, one column a test of this module. A crash before write n+1 leaves a database as one
after write n does, so on databases the former is enough. `make crashes` lives through everything at every write, on
every store; `make test-slow` takes samples where that is slow, see `_stride`.
"""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.primitives.case import Case
from tests.primitives.catalogue import CASES
from tests.primitives.situations import (
    LIVES_AT_A_TIME,
    THOROUGH,
    Stores,
    at_every_write,
    opened_stores,
    told_twice,
    undisturbed,
    with_a_crash,
    with_a_rival,
)
from tests.support.stores import DATABASES_SLOWLY, EVERY_STORE

_URLS = {"sqlite": "module_sqlite_url", "postgresql": "module_postgres_url"}


@pytest.fixture(params=DATABASES_SLOWLY)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Two processes' stores; each life has a namespace, so all of them share one database."""
    url = None if request.param == "memory" else request.getfixturevalue(_URLS[request.param])
    async with opened_stores(request.param, url) as stores:
        yield stores


every_case = pytest.mark.parametrize("case", CASES, ids=str)
in_memory = pytest.mark.parametrize("stores", ["memory"], indirect=True)
_LONG = 100
patiently = pytest.mark.timeout(3000 if THOROUGH else 240)
in_memory_at_least = pytest.mark.parametrize("stores", EVERY_STORE if THOROUGH else ["memory"], indirect=True)


@every_case
@in_memory_at_least
async def test_on_the_first_run(case: Case, stores: Stores) -> None:
    await undisturbed(case, stores)


@pytest.mark.slow
@every_case
@patiently
async def test_after_a_crash_before_each_write(case: Case, stores: Stores) -> None:
    stride = _stride(case, stores)
    writes = await at_every_write(partial(with_a_crash, case, stores, moment="before"), **stride)
    assert writes + stride["step"] > case.writes, "the case makes fewer writes than it is meant to cover"


@pytest.mark.slow
@every_case
@in_memory
@patiently
async def test_after_a_crash_behind_each_write(case: Case, stores: Stores) -> None:
    await at_every_write(partial(with_a_crash, case, stores, moment="after"), **_stride(case, stores, in_memory=3))


# A turn that ends while a body makes the arguments of `ctx.race` leaves the first of them to Python's warning.
@pytest.mark.filterwarnings("ignore:coroutine '_slow' was never awaited:RuntimeWarning")
@pytest.mark.slow
@every_case
@in_memory_at_least
@patiently
async def test_against_a_process_that_was_taken_for_dead(case: Case, stores: Stores) -> None:
    await at_every_write(partial(with_a_rival, case, stores), **_stride(case, stores, in_memory=2))


@every_case
async def test_with_everything_said_twice_to_two_workers(case: Case, stores: Stores) -> None:
    await told_twice(case, stores)


def _stride(case: Case, stores: Stores, *, in_memory: int = 1) -> dict[str, int]:
    """At which writes: all of them, or every so manieth on a database; fewer of a long case, and fewer at a time.

    Each case begins with another one.
    """
    if THOROUGH:
        step = 4 if case.writes >= _LONG and stores.kind != "memory" else 1
    else:
        step = {"memory": in_memory, "sqlite": 10, "postgresql": 20}[stores.kind]
        if case.writes >= _LONG:
            # each part of what it consists of has a case of its own
            step *= 30 if stores.kind == "memory" else 10
    # A long case works more than it waits: many lives at a time would each come to the limits of its waits.
    at_a_time = 2 if case.writes >= _LONG else LIVES_AT_A_TIME
    return {"first": 1 + CASES.index(case) % step, "step": step, "at_a_time": at_a_time}
