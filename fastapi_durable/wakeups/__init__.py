"""Wakeups: how the processes that share a store notify each other."""

from fastapi_durable.wakeups.base import OnMessage, Publish, Topic, Wakeup, Wakeups

__all__ = [
    "OnMessage",
    "Publish",
    "Topic",
    "Wakeup",
    "Wakeups",
]
