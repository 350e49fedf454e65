"""The rule by which a worker finds how many runs it drives at a time, with lags given by hand."""

from datetime import timedelta

import pytest

from fastapi_durable.declare.concurrency import Adaptive, Slots
from fastapi_durable.model.errors import DefinitionError

PROMPT = timedelta(milliseconds=1)
LATE = timedelta(milliseconds=51)


def full(places: Slots) -> int:
    """Take every place, as a worker does that has enough to do."""
    assert places.free(places.number) == 0
    return places.number


def test_a_fixed_number_stays_whatever_happens() -> None:
    places = Slots(5)
    for lag in (PROMPT, LATE):
        assert not places.adapt(lag, full(places))
    assert places.number == 5


def test_it_starts_with_the_least_and_grows_by_one_while_all_places_are_taken_up_to_the_most() -> None:
    places = Slots(Adaptive(least=2, most=5))
    seen = [places.number]
    for _ in range(5):
        assert places.adapt(PROMPT, full(places))
        seen.append(places.number)
    assert seen == [2, 3, 4, 5, 5, 5]


def test_a_quarter_goes_when_the_loop_is_late_but_never_below_the_least() -> None:
    places = Slots(Adaptive(least=10, most=40))
    while places.number < 40:
        places.adapt(PROMPT, full(places))
    seen = []
    for _ in range(6):
        assert not places.adapt(LATE, full(places))
        seen.append(places.number)
    assert seen == [30, 22, 16, 12, 10, 10]


def test_a_lag_of_exactly_the_longest_is_no_lag() -> None:
    places = Slots(Adaptive(least=1, most=9, longest_lag="51ms"))
    assert places.adapt(LATE, full(places))


def test_nothing_changes_while_there_is_room() -> None:
    """That the loop is late with half of the places taken says nothing of their number, nor that it is prompt."""
    places = Slots(Adaptive(least=4, most=8))
    for lag in (PROMPT, LATE):
        assert places.free(2) == 2
        assert not places.adapt(lag, 2)
    assert places.number == 4


def test_places_that_were_all_taken_for_a_moment_count() -> None:
    places = Slots(Adaptive(least=4, most=8))
    full(places)
    assert places.free(1) == 3
    assert places.adapt(PROMPT, 1)
    assert not places.adapt(PROMPT, 1)
    assert places.number == 5


def test_a_decrease_takes_effect_before_the_next() -> None:
    """The runs under way go on, and the loop stays late until enough of them have ended."""
    places = Slots(Adaptive(least=1, most=8))
    while places.number < 8:
        places.adapt(PROMPT, full(places))
    places.adapt(LATE, full(places))
    assert places.number == 6
    assert places.free(8) == -2
    places.adapt(LATE, 8)
    assert places.number == 6
    places.adapt(LATE, full(places))
    assert places.number == 4


@pytest.mark.parametrize(
    ("least", "most", "lag"), [(0, 4, "1s"), (5, 4, "1s"), (1.0, 4, "1s"), (1, True, "1s"), (1, 2, timedelta(0))]
)
def test_bounds_that_contradict_each_other_are_refused(least: int, most: int, lag: timedelta) -> None:
    with pytest.raises(DefinitionError):
        Adaptive(least, most, lag)
