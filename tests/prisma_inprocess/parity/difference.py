"""Where an outcome here and one of the official runtime differ."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

# Made by the client at the moment of writing, so never equal: only their shape is compared.
GENERATED: Final = ("uuid4", "uuid7", "cuid1", "cuid2", "nano", "ulid")


def difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """Where a result of this engine and one of the official runtime (tagged values) first differ, None if nowhere."""
    field = path.rpartition(".")[2]
    if field in GENERATED and isinstance(ours, str) and isinstance(theirs, str) and len(ours) == len(theirs):
        return None
    if field == "updated" and isinstance(ours, dt.datetime) and isinstance(theirs, dict):
        return None if abs(ours - _instant(theirs["value"])) < dt.timedelta(hours=2) else path
    if (
        isinstance(theirs, dict)
        and "$type" not in theirs
        and isinstance(ours, Mapping)
        and ours.keys() == theirs.keys()
    ):
        places = (difference(ours[key], theirs[key], f"{path}.{key}") for key in theirs)
        return next((place for place in places if place is not None), None)
    if isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        places = (difference(*pair, f"{path}[{index}]") for index, pair in enumerate(zip(ours, theirs, strict=True)))
        return next((place for place in places if place is not None), None)
    tagged = isinstance(theirs, dict) and "$type" in theirs
    is_same = _same_tagged(ours, theirs["$type"], theirs["value"]) if tagged else bool(ours == theirs)
    return None if is_same else f"{path or 'result'}: here {ours!r}, official {theirs!r}"


def _same_tagged(ours: Any, kind: str, value: Any) -> bool:
    if kind == "DateTime":
        return isinstance(ours, dt.datetime) and ours == _instant(value)
    if kind == "BigInt":
        return type(ours) is int and ours == int(value)
    if kind == "Decimal":
        return isinstance(ours, Decimal) and ours == Decimal(str(value))
    if kind == "Json":
        return isinstance(ours, str) and json.loads(ours) == json.loads(value)
    if kind == "Number":
        return isinstance(ours, float) and (math.isnan(ours) if value == "NaN" else ours == float(value))
    return bool(ours == value)


def _instant(value: Any) -> dt.datetime:
    return (
        dt.datetime.fromtimestamp(value / 1000, dt.UTC) if isinstance(value, int) else dt.datetime.fromisoformat(value)
    )


def outcome_difference(record: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    ours, theirs = record["error"], answer.get("error")
    if ours is None and theirs is None:
        return difference(record["result"], answer.get("result"))
    if ours is not None and theirs is not None and ours["code"] == theirs["code"]:
        return None
    return f"here {ours or record['result']}, official {theirs or answer.get('result')}"
