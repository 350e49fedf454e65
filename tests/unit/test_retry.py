"""The wait before an attempt."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_durable.declare.retry import NO_DELAY, Backoff, exponential, fixed
from fastapi_durable.model.duration import LONGEST

DELAYS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))
UNIFORM = st.floats(0, 1, exclude_max=True)
ATTEMPTS = st.integers(1, 10_000)


@given(DELAYS, ATTEMPTS)
def test_a_fixed_delay_is_the_same_before_every_attempt(delay: timedelta, attempts: int) -> None:
    assert fixed(delay).delay(attempts, lambda: 0.5) == delay


@given(DELAYS, st.integers(1, 20))
def test_an_exponential_delay_doubles(base: timedelta, attempts: int) -> None:
    backoff = exponential(base, cap=None, jitter=False)
    assert backoff.delay(attempts, lambda: 0) == min(base * 2 ** (attempts - 1), LONGEST)


@given(DELAYS, DELAYS, ATTEMPTS, UNIFORM)
def test_no_delay_exceeds_the_cap(base: timedelta, cap: timedelta, attempts: int, uniform: float) -> None:
    assert timedelta(0) <= exponential(base, cap=cap).delay(attempts, lambda: uniform) <= cap


@given(DELAYS, ATTEMPTS, UNIFORM)
def test_jitter_takes_away_half_at_most(base: timedelta, attempts: int, uniform: float) -> None:
    plain = exponential(base, cap="1 day", jitter=False).delay(attempts, lambda: uniform)
    jittered = exponential(base, cap="1 day", jitter=True).delay(attempts, lambda: uniform)
    assert plain / 2 <= jittered <= plain


@given(ATTEMPTS)
def test_no_number_of_attempts_is_too_much(attempts: int) -> None:
    """Without a cap the delay grows to the longest duration there is, and stays there."""
    delay = exponential("1s", cap=None, jitter=False).delay(attempts, lambda: 0)
    assert delay == (timedelta(seconds=2 ** (attempts - 1)) if attempts < 33 else LONGEST)


def test_no_delay_is_none() -> None:
    assert NO_DELAY.delay(7, lambda: 0.99) == timedelta(0)


def test_the_default_is_exponential_from_a_second_to_five_minutes_with_jitter() -> None:
    backoff = Backoff()
    assert [backoff.delay(number, lambda: 0).total_seconds() for number in (1, 2, 3, 20)] == [0.5, 1, 2, 150]


@pytest.mark.parametrize("wrong", ["-1s", "soon", 5])
def test_a_delay_is_a_duration(wrong: object) -> None:
    with pytest.raises(ValueError, match="a duration must be"):
        fixed(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a duration must be"):
        exponential("1s", cap=wrong)  # type: ignore[arg-type]
