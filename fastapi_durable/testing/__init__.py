"""For tests of workflows: recorded histories, replayed against today's code."""

from fastapi_durable.testing.history import History, assert_replayable, record_history

__all__ = ["History", "assert_replayable", "record_history"]
