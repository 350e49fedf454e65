"""For tests of workflows: time that passes by hand, and recorded histories, replayed against today's code."""

from fastapi_durable.model.clock import Clock
from fastapi_durable.testing.clock import HandClock
from fastapi_durable.testing.history import History, assert_replayable, record_history
from fastapi_durable.testing.settling import settled

__all__ = ["Clock", "HandClock", "History", "assert_replayable", "record_history", "settled"]
