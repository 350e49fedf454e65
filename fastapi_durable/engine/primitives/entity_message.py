"""The messages between entities and their callers, and their tokens."""

from typing import Any

from pydantic import BaseModel

from fastapi_durable.model.reserved import ENTITY, engine_id

WORKFLOW = "__entity"
STATE = "event:state"


class EntityLife(BaseModel):
    """The input of an entity's run. `state` is None before the first operation."""

    name: str
    key: str
    state: Any = None
    seen: list[str] = []


class Message(BaseModel):
    """An operation on its way to its entity.

    Attributes:
        reply: The token on which the caller waits. None: no caller waits.
        id: Id of the operation, chosen by the caller. An operation with a known id is skipped.
        call: Id of the call that sent it, the same on every replay.
    """

    op: str
    arg: Any = None
    reply: str | None = None
    id: str | None = None
    call: str | None = None


def entity_run_id(namespace: str, name: str, key: str) -> str:
    return engine_id(ENTITY, namespace, name, key)
