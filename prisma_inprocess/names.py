"""Names that are valid in a schema, but not in a generated client.

Found by trying every name that the generated modules, pydantic's models, Python's enums and the client itself have.
Names that Prisma Client Python itself refuses (Python's keywords, most attributes of pydantic's models) are not listed
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from keyword import iskeyword
from typing import Any, Final

from prisma_inprocess.errors import GenerationError
from prisma_inprocess.prisma_client_py import accessor

# What the class of a model already has.
_MEMBERS: Final = frozenset(("create_partial", "model_fields"))
# What the class of a model names in its body: a field that may be absent sets it to None there.
_NAMED_IN_BODY: Final = frozenset(
    (
        *("Iterable", "List", "Mapping", "Optional", "classmethod", "datetime", "decimal", "enums", "field_validator"),
        *("fields", "models", "staticmethod"),
    )
)
# A model is a class of a module that uses these names further down.
_MODELS: Final = frozenset(
    (
        *("Dict", "Iterable", "List", "Mapping", "Optional", "OrderedDict", "Set", "actions"),
        *("bases", "datetime", "decimal", "enums", "field_validator", "fields", "model_rebuild", "models"),
    )
)
# Models are found as attributes of the client and of a batch, whose methods these are.
_ACCESSORS: Final = frozenset(
    (
        *("batch_", "commit", "connect", "disconnect", "execute_raw", "is_connected", "is_registered"),
        *("is_transaction", "query_first", "query_raw", "query_raw_batch", "rows_of", "tx"),
    )
)
_ENUM_VALUES: Final = frozenset(("mro",))


def refuse_names(datamodel: Mapping[str, Any]) -> None:
    """Check the names of a schema.

    Args:
        datamodel: The schema as Prisma describes it (DMMF): its models, enums, fields and values.

    Raises:
        GenerationError: A generated client cannot have some of its names. The message has a line for each of them, with
            the element of the schema, why it cannot be, and what to do.
    """
    problems = [*_model_problems(datamodel["models"]), *_enum_problems(datamodel["enums"])]
    if problems:
        raise GenerationError("\n".join(["the client cannot have these names of the schema:", *problems]))


def _model_problems(models: list[dict[str, Any]]) -> Iterator[str]:
    accessors: dict[str, str] = {}
    for model in models:
        name, attribute = model["name"], accessor(model)
        other = accessors.setdefault(attribute, name)
        if name in _MODELS:
            yield _line(f"model {name}", "the generated module uses this name itself", _map_model(model))
        elif other != name:
            yield _attribute_line(model, f"`client.{attribute}` would be {other}, too")
        elif attribute in _ACCESSORS:
            yield _attribute_line(model, f"the client has a method `{attribute}`")
        for field in model["fields"]:
            may_be_absent = not field["isRequired"] or field["kind"] == "object"
            if field["name"] in _MEMBERS or (may_be_absent and field["name"] in _NAMED_IN_BODY):
                reason = "the model's class uses this name itself"
                yield _line(f"field {name}.{field['name']}", reason, _map_field(field))


def _enum_problems(enums: list[dict[str, Any]]) -> Iterator[str]:
    for enum in enums:
        if enum["name"] == "StrEnum":
            yield _line("enum StrEnum", "the other enums derive from a class of this name", f'@@map("{_stored(enum)}")')
        for value in enum["values"]:
            name = value["name"]
            if name in _ENUM_VALUES or iskeyword(name):
                reason = "Python's enums cannot have it"
                yield _line(f"value {name} of enum {enum['name']}", reason, f'@map("{_stored(value)}")')


def _attribute_line(model: Mapping[str, Any], reason: str) -> str:
    choice = 'or choose the attribute in a comment above the model: /// @Python(instance_name: "another_name")'
    return f"{_line('model ' + model['name'], reason, _map_model(model))}, {choice}"


def _map_model(model: Mapping[str, Any]) -> str:
    return f'@@map("{_stored(model)}")'


def _map_field(field: Mapping[str, Any]) -> str | None:
    # A relation has no column.
    return None if field["kind"] == "object" else f'@map("{_stored(field)}")'


def _stored(element: Mapping[str, Any]) -> str:
    """The name of a table, column, type or value in the database."""
    return str(element.get("dbName") or element["name"])


def _line(element: str, reason: str, keep: str | None) -> str:
    kept = f", and keep its name in the database with {keep}" if keep else ""
    return f"  {element}: {reason}. Rename it{kept}"
