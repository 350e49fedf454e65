"""What entities and their callers say to each other, and where."""

from typing import Any

from pydantic import BaseModel

from fastapi_durable.model.reserved import ENTITY, engine_id

WORKFLOW = "__entity"
STATE = "event:state"


class EntityLife(BaseModel):
    """The input of an entity's run; `state` is None before the first operation."""

    name: str
    key: str
    state: Any = None
    seen: list[str] = []


class Message(BaseModel):
    """An operation on its way to its entity; `reply` is the token on which the caller waits."""

    op: str
    arg: Any = None
    reply: str | None = None
    id: str | None = None


def entity_run_id(namespace: str, name: str, key: str) -> str:
    return engine_id(ENTITY, namespace, name, key)
