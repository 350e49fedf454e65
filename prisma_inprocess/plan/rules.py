"""Conditions that a plan puts on a result, and the errors when they do not hold."""

from __future__ import annotations

from typing import Any

from prisma_inprocess.errors import EngineError

_CODES = {
    "RELATION_VIOLATION": "P2014",
    "RECORDS_NOT_CONNECTED": "P2017",
    "INCOMPLETE_CONNECT_OUTPUT": "P2018",
    "MISSING_RECORD": "P2025",
    "MISSING_RELATED_RECORD": "P2025",
    "INCOMPLETE_CONNECT_INPUT": "P2025",
}
_DEPENDS = "An operation failed because it depends on one or more records that were required but not found."


def holds(value: Any, rule: dict[str, Any]) -> bool:
    kind = rule["type"]
    if kind == "affectedRowCountEq":
        return bool(value == rule["args"])
    if kind == "never":
        return False
    count = len(value) if isinstance(value, list) else 0 if value is None else 1
    if kind == "rowCountEq":
        return bool(count == rule["args"])
    if kind == "rowCountNeq":
        return bool(count != rule["args"])
    raise EngineError(f"The query plan has a rule {kind!r} that this version does not know", "P2009")


def violation(value: Any, identifier: str, context: dict[str, Any]) -> EngineError:
    """The error for a rule that does not hold, in Prisma's words."""
    return EngineError(_message(value, identifier, context), _CODES.get(identifier), context)


def _message(value: Any, identifier: str, context: dict[str, Any]) -> str:
    found = len(value) if isinstance(value, list) else value
    if identifier == "MISSING_RECORD":
        return f"{_DEPENDS} No record was found for {context['operation']}."
    if identifier == "MISSING_RELATED_RECORD":
        hint = f" (needed to {context['neededFor']})" if context.get("neededFor") else ""
        relation = f"{context['operation']} on {context['relationType']} relation '{context['relation']}'"
        return f"{_DEPENDS} No '{context['model']}' record{hint} was found for {relation}."
    if identifier == "INCOMPLETE_CONNECT_INPUT":
        return f"{_DEPENDS} Expected {context['expectedRows']} records to be connected, found only {found}."
    if identifier == "INCOMPLETE_CONNECT_OUTPUT":
        return (
            f"The required connected records were not found. Expected {context['expectedRows']} records to be "
            f"connected after connect operation on {context['relationType']} relation '{context['relation']}', "
            f"found {found}."
        )
    if identifier == "RECORDS_NOT_CONNECTED":
        return (
            f"The records for relation `{context['relation']}` between the `{context['parent']}` and "
            f"`{context['child']}` models are not connected."
        )
    if identifier == "RELATION_VIOLATION":
        return (
            f"The change you are trying to make would violate the required relation '{context['relation']}' between "
            f"the `{context['modelA']}` and `{context['modelB']}` models."
        )
    return f"{identifier}: {context}"
