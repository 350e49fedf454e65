"""From the client's arguments to the JSON protocol.

The client's own path renders GraphQL text for the native engine to parse. Here Python arguments become a request
directly, and every value that may vary without changing the query plan becomes a placeholder on the way.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from prisma_inprocess.compiler.input_graph import Edge, Fields, InputGraph
from prisma_inprocess.errors import EngineError

# The client's spelling of arguments, where it differs from Prisma's; the client applies them at every level.
ALIASES: Final[Mapping[str, str]] = {
    "startswith": "startsWith",
    "endswith": "endsWith",
    "has_every": "hasEvery",
    "has_some": "hasSome",
    "is_empty": "isEmpty",
    "order_by": "orderBy",
    "not_in": "notIn",
    "is_not": "isNot",
    "connect_or_create": "connectOrCreate",
}

_JSON: Final = frozenset(("Json",))
_PLAIN: Final = frozenset((str, int, float, bool, dt.datetime, Decimal))
INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
_BIGINT_MIN: Final = -(2**63)
_BIGINT_MAX: Final = 2**63 - 1


def dump_json(data: object) -> str:
    """JSON text for a Json column, without spaces as Prisma writes it: SQLite compares Json values by their text.

    Raises: EngineError (P2019) for data that JSON or the databases cannot hold.
    """
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_json_default)
        text.encode()
    except UnicodeEncodeError as error:
        raise EngineError(
            "Input error: a Json value contains a lone surrogate, which no database can store", "P2019"
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise EngineError(f"Input error: a Json value cannot be serialised: {error}", "P2019") from error
    return text


def _json_default(value: object) -> object:
    if isinstance(value, dt.datetime):
        return to_utc(value).isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"Type {type(value)} not serializable")


def to_utc(value: dt.datetime) -> dt.datetime:
    """The same instant in UTC, cut to milliseconds as the client does; a naive time is taken as UTC."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=dt.UTC)
    elif value.tzinfo is not dt.UTC:
        value = value.astimezone(dt.UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


class RequestBuilder:
    """Builds one request; `values` holds what its placeholders stand for.

    Args:
        graph: The schema's input graph.
        json_type: The generated package's own `Json` class.
        base64_type: The generated package's own `Base64` class.
        share: Whether equal values share a placeholder.
    """

    __slots__ = ("_base64_type", "_graph", "_json_type", "_names", "_share", "values")

    def __init__(self, graph: InputGraph, json_type: type[Any], base64_type: type[Any], *, share: bool = True) -> None:
        self._share = share
        self._graph = graph
        self._json_type = json_type
        self._base64_type = base64_type
        self._names: dict[object, str] = {}
        self.values: dict[str, Any] = {}

    def arguments(self, arguments: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
        """Arguments of an operation or of an included relation; None leaves one out, as in the client itself."""
        encoded: dict[str, Any] = {}
        for key, value in arguments.items():
            if value is None:
                continue
            name = ALIASES.get(key, key)
            encoded[name] = self._encode(value, fields.get(name))
        return encoded

    def _encode(self, value: Any, edge: Edge | None) -> Any:
        if edge is None:
            return self._literal(value)
        if value is None:
            return self._null(edge)
        if type(value) in _PLAIN:
            return self._scalar(value, edge)  # the usual value, which is none of what follows
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, (dict, Mapping)):  # the usual dict needs no look at what an abstract class says
            return self._object(value, edge)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._list(list(value), edge)
        if isinstance(value, self._json_type):
            return self._json(value, edge)
        return self._scalar(value, edge)

    def _null(self, edge: Edge) -> Any:
        # In a Json column None is the database's NULL; JSON's null is written as Json(None).
        if edge.null_kind is not None and edge.null_kind != "JsonNullValueInput":
            return {"$type": "Enum", "value": "DbNull"}
        if edge.json_filter:
            return {"equals": {"$type": "Enum", "value": "DbNull"}}
        return None

    def _object(self, value: Mapping[str, Any], edge: Edge) -> Any:
        if not edge.objects:
            if edge.is_json:
                raise EngineError("Input error: a value for a Json field must be wrapped: Json({...})", "P2019")
            return self._literal(value)
        fields = self._graph.fields(edge)
        encoded: dict[str, Any] = {}
        for key, item in value.items():
            name = ALIASES.get(key, key)
            if name == "equals" and isinstance(item, (list, tuple)) and edge.json_list_filter:
                encoded[name] = self._json_list(item)
            else:
                encoded[name] = self._encode(item, fields.get(name))
        return encoded

    def _list(self, items: list[Any], edge: Edge) -> Any:
        items = [item.value if isinstance(item, Enum) else item for item in items]
        if edge.objects and edge.object_list and any(isinstance(item, Mapping) for item in items):
            return [self._object(item, edge) if isinstance(item, Mapping) else self._literal(item) for item in items]
        if edge.enum is not None and items:
            values = self._graph.enum_values(edge.enum)
            if all(isinstance(item, str) and item in values for item in items):
                return self._placeholder([values[item] for item in items], "List", "Enum")
        if edge.lists and items:
            typed = [self._typed(item, edge.lists) for item in items]
            kinds = {kind for kind, _ in typed}
            inner = widest(kinds)
            if inner is not None:
                return self._placeholder([item for _, item in typed], "List", inner)
        if not edge.lists and edge.is_json and not edge.objects:
            raise EngineError("Input error: a value for a Json field must be wrapped: Json([...])", "P2019")
        return [self._literal(_exact(item, edge.declared)) for item in items]

    def _json(self, value: Any, edge: Edge) -> Any:
        text = dump_json(value.data)
        if edge.json_filter:
            # The shorthand `{"field": Json(...)}`: compare the whole value.
            equals = self._graph.fields(edge).get("equals")
            return {"equals": self._json(value, equals)} if equals is not None else self._literal(value)
        if text == "null" and edge.null_kind is not None:
            return {"$type": "Enum", "value": "JsonNull"}
        if "Json" in edge.scalars:
            return self._placeholder(text, "Json")
        return {"$type": "Json", "value": text}

    def _json_list(self, items: Iterable[Any]) -> Any:
        """A whole list of Json: a column of a Json list is compared as one JSON value."""
        texts = []
        for item in items:
            kind, text = self._typed(item, _JSON)
            if kind is None:
                raise EngineError("Input error: a value for a Json field must be wrapped: Json(...)", "P2019")
            texts.append(text)
        return self._placeholder(f"[{','.join(texts)}]", "Json")

    def _scalar(self, value: Any, edge: Edge) -> Any:
        if edge.enum is not None and isinstance(value, str):
            values = self._graph.enum_values(edge.enum)
            if value in values:
                return self._placeholder(values[value], "Enum")
        if edge.scalars:
            kind, item = self._typed(value, edge.scalars)
            if kind is not None:
                return self._placeholder(item, kind)
        if edge.is_json and not isinstance(value, str) and edge.declared == {"Json"} and not edge.objects:
            raise EngineError("Input error: a value for a Json field must be wrapped: Json(...)", "P2019")
        return self._literal(_exact(value, edge.declared))

    def _typed(self, value: Any, accepted: frozenset[str]) -> tuple[str | None, Any]:
        """The placeholder type for a value where `accepted` scalars are allowed, or None if it must stay a literal."""
        if isinstance(value, bool):
            return ("Boolean" if "Boolean" in accepted else None), value
        if isinstance(value, int):
            return _typed_integer(value, accepted)
        if isinstance(value, float):
            return ("Float" if not accepted.isdisjoint(("Float", "Decimal")) else None), value
        if isinstance(value, str):
            return self._typed_text(value, accepted)
        if isinstance(value, dt.datetime):
            return ("DateTime" if "DateTime" in accepted else None), to_utc(value)
        if isinstance(value, Decimal):
            return ("Float" if not accepted.isdisjoint(("Float", "Decimal")) else None), value
        if isinstance(value, self._base64_type):
            return ("Bytes" if "Bytes" in accepted else None), value.decode()
        if isinstance(value, (bytes, bytearray, memoryview)):
            return ("Bytes" if "Bytes" in accepted else None), bytes(value)
        if isinstance(value, self._json_type):
            return ("Json" if "Json" in accepted else None), dump_json(value.data)
        return None, value

    @staticmethod
    def _typed_text(value: str, accepted: frozenset[str]) -> tuple[str | None, Any]:
        if "String" in accepted:
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise EngineError(
                    "Input error: a text contains a lone surrogate, which no database can store", "P2019"
                ) from error
            return "String", value
        if "DateTime" in accepted:
            try:
                return "DateTime", to_utc(dt.datetime.fromisoformat(value))
            except ValueError:
                return None, value
        if "Json" in accepted:
            try:
                json.loads(value)
            except ValueError as error:
                raise EngineError(
                    "Input error: a text for a Json field must be JSON; wrap other values: Json(...)", "P2019"
                ) from error
            return "Json", value
        return None, value

    def _literal(self, value: Any) -> Any:
        """A value that cannot be a placeholder, in the JSON protocol; the compiler checks it against the schema."""
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, Enum):
            return self._literal(value.value)
        if isinstance(value, str):
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise EngineError("Input error: NaN and infinity are not allowed here", "P2019")
            return value
        if isinstance(value, Mapping):
            return {ALIASES.get(key, key): self._literal(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._literal(item) for item in value]
        if isinstance(value, dt.datetime):
            return {"$type": "DateTime", "value": to_utc(value).isoformat()}
        if isinstance(value, Decimal):
            return {"$type": "Decimal", "value": str(value)}
        if isinstance(value, self._json_type):
            return {"$type": "Json", "value": dump_json(value.data)}
        if isinstance(value, self._base64_type):
            return {"$type": "Bytes", "value": str(value)}
        raise TypeError(f"Type {type(value)} not serializable")

    def _placeholder(self, value: Any, kind: str, inner: str | None = None) -> dict[str, Any]:
        # Equal values share a name: the compiler compares names to choose between native and emulated upserts. Floats
        # by their text, because 0.0 == -0.0 and nan != nan.
        if not self._share:
            key: object = len(self._names)
        elif inner is not None:
            key = (kind, inner, repr(value))
        else:
            key = (kind, repr(value) if isinstance(value, float) else value)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"%{len(self._names) + 1}"
            self.values[name] = value
        if inner is None:
            return {"$type": "Param", "value": {"name": name, "type": kind}}
        return {"$type": "Param", "value": {"name": name, "type": kind, "inner": {"type": inner}}}


def _exact(value: Any, declared: frozenset[str]) -> Any:
    """Return a number that stays a literal, converted to the field's type, because the compiler would cut a
    fraction.
    """
    if isinstance(value, (float, Decimal)):
        if declared.isdisjoint(("Float", "Decimal")) and not declared.isdisjoint(("Int", "BigInt")):
            raise EngineError(
                f"Invalid input value: an Int or BigInt field takes an int, got {type(value).__name__}", "P2007"
            )
    elif type(value) is int and "Decimal" in declared:
        return Decimal(value)
    return value


def _typed_integer(value: int, accepted: frozenset[str]) -> tuple[str | None, Any]:
    if "Decimal" in accepted:
        return "Float", Decimal(value)
    if INT_MIN <= value <= INT_MAX:
        return ("Int" if not accepted.isdisjoint(("Int", "BigInt", "Float")) else None), value
    if "BigInt" in accepted:
        if not _BIGINT_MIN <= value <= _BIGINT_MAX:
            raise EngineError("Value out of range for the type: an integer does not fit into 64 bits", "P2020")
        return "BigInt", value
    if "Float" in accepted:
        return "Float", float(value)
    if "Int" in accepted:
        raise EngineError("Value out of range for the type: an integer does not fit into 32 bits", "P2020")
    return None, value


_NUMERIC_WIDTH: Final = ("Int", "BigInt", "Float")


def widest(kinds: Iterable[str | None]) -> str | None:
    """One element type for a whole list, or None if its elements have no type in common."""
    unique = set(kinds)
    if len(unique) == 1:
        return unique.pop()
    if unique <= set(_NUMERIC_WIDTH):
        return max((kind for kind in unique if kind is not None), key=_NUMERIC_WIDTH.index)
    return None


def selection_of(entries: Iterable[str]) -> dict[str, Any]:
    """A selection from the client's root selections: names, and names with one level of fields, as in `_count { _all id
    }`.
    """
    selection: dict[str, Any] = {}
    for entry in entries:
        name, brace, rest = entry.partition("{")
        if brace:
            selection[name.strip()] = {"selection": dict.fromkeys(rest.strip().removesuffix("}").split(), True)}
        else:
            selection[name.strip()] = True
    return selection
