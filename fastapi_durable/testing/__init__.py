"""Tools for tests of workflows: a clock that a test moves, and recorded histories to replay with the current code."""

from fastapi_durable.model.clock import Clock
from fastapi_durable.testing.clock import HandClock
from fastapi_durable.testing.history import History, assert_replayable, record_history
from fastapi_durable.testing.settling import settled

__all__ = ["Clock", "HandClock", "History", "assert_replayable", "record_history", "settled"]
