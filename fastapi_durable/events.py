"""What the library reports while it happens: events of runs and steps, published events, and the log of a step."""

from fastapi_durable.engine.core.live_events import LiveEvent, LiveEvents, LiveEventType
from fastapi_durable.engine.core.subscription import Event, EventSubscriber, PublishedEvent, Reception, Refusal
from fastapi_durable.engine.turns.step_log import StepLog, SubProcess
from fastapi_durable.engine.turns.step_stream import StepStream

__all__ = [
    "Event",
    "EventSubscriber",
    "LiveEvent",
    "LiveEventType",
    "LiveEvents",
    "PublishedEvent",
    "Reception",
    "Refusal",
    "StepLog",
    "StepStream",
    "SubProcess",
]
