"""Every primitive in every situation, on every store: the table of what this library promises.

One row is a case of the catalogue, one column a test of this module.
"""

from functools import partial

import pytest

from tests.primitives.case import Case
from tests.primitives.catalogue import CASES
from tests.primitives.situations import Stores, at_every_write, told_twice, undisturbed, with_a_crash, with_a_rival
from tests.support.crashing_store import Moment

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
async def test_on_the_first_run(case: Case, stores: Stores) -> None:
    await undisturbed(case, stores)


@every_case
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.timeout(240)
async def test_after_a_crash_at_each_write(case: Case, stores: Stores, moment: Moment) -> None:
    writes = await at_every_write(partial(with_a_crash, case, stores, moment=moment))
    assert writes >= case.writes, "the case makes fewer writes than it is meant to cover"


@every_case
@pytest.mark.timeout(240)
async def test_against_a_process_that_was_taken_for_dead(case: Case, stores: Stores) -> None:
    await at_every_write(partial(with_a_rival, case, stores))


@every_case
async def test_with_everything_said_twice_to_two_workers(case: Case, stores: Stores) -> None:
    await told_twice(case, stores)
