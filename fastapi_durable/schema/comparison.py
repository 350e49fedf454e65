"""Finds what a schema lacks for the Prisma store: one sentence for each thing, with the line that adds it."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from fastapi_durable.schema.declaration import PROVIDERS, Provider, durable_models
from fastapi_durable.schema.language import Block, Field, Model, Schema

_PROVIDERS_BY_NAME: Final[dict[str, Provider]] = {provider: provider for provider in PROVIDERS}

# Native types on which the store's reads and writes depend. The application may choose any other `@db.` type.
_REQUIRED_NATIVE_TYPES: Final = {
    "DateTime": (re.compile(r"Timestamp(\([3-6]\))?$"), "a timestamp without time zone, of milliseconds or finer"),
    "Json": (re.compile(r"JsonB$"), "JSONB"),
}


def missing_from(schema: Schema, provider: Provider | None = None) -> list[str]:
    """List what a schema lacks, one sentence for each thing. With an empty list, the store can work with the schema.

    The schema's own datasource decides the provider unless one is given. Formatting, order, further models, further
    optional fields and further indexes do not matter.
    """
    if provider is None:
        named = schema.provider or "sqlite"
        provider = _PROVIDERS_BY_NAME.get(named)
        if provider is None:
            return [f"the datasource's provider is {named!r}; fastapi_durable works with {' and '.join(PROVIDERS)}"]
    problems: list[str] = []
    counted = Counter(model.name for model in schema.models)
    for wanted in durable_models(provider):
        if counted[wanted.name] > 1:
            problems.append(f"model {wanted.name} is declared {counted[wanted.name]} times; keep one")
        found = schema.find_model(wanted.name)
        if found is None:
            problems.append(
                f"model {wanted.name} is missing; `python -m fastapi_durable schema --provider {provider}` prints it"
            )
        else:
            problems.extend(f"{wanted.name}{problem}" for problem in _model_problems(wanted, found))
    return problems


def _model_problems(wanted: Model, found: Model) -> Iterator[str]:
    if found.ignored:
        yield " carries @@ignore, so the generated client would not know it; remove the attribute"
    if found.table != wanted.table:
        yield f' is mapped to table {found.table!r}; write: @@map("{wanted.table}")'
    for field in wanted.fields.values():
        yield from (f".{field.name} {problem}" for problem in _field_problems(field, found.fields.get(field.name)))
    for field in found.fields.values():
        if field.name not in wanted.fields and not _fills_itself(field):
            yield (
                f".{field.name} is required and has no default, so the store could not insert a row;"
                " make it optional or give it a @default"
            )
    if found.id != wanted.id:
        yield f" has the primary key ({', '.join(found.id)}); it must be ({', '.join(wanted.id)})"
    for block in wanted.blocks:
        if block.kind != "id":
            yield from _index_problems(block, found)


def _field_problems(wanted: Field, found: Field | None) -> Iterator[str]:
    if found is None:
        yield f"is missing; add: {wanted.source}"
        return
    if found.attribute("ignore"):
        yield f"carries @ignore, so the generated client would not know it; write: {wanted.source}"
    if found.type_text != wanted.type_text:
        yield f"is {found.type_text}; it must be {wanted.type_text}"
    if found.column != wanted.column:
        yield f"is column {found.column!r}; it must be {wanted.column!r}: {wanted.source}"
    if wanted.default is not None and found.default != wanted.default:
        yield f"must have @default({wanted.default})"
    relation, found_relation = wanted.attribute("relation"), found.attribute("relation")
    if relation and (found_relation is None or found_relation.argument("onDelete") != relation.argument("onDelete")):
        yield f"must be deleted with its run; write: {wanted.source}"
    native_type, rule = found.native_type(), _REQUIRED_NATIVE_TYPES.get(wanted.type)
    if native_type and rule and not rule[0].match(native_type):
        yield f"is @db.{native_type}; it must be {rule[1]}: remove the attribute"


def _index_problems(wanted: Block, found: Model) -> Iterator[str]:
    # an index with another name works as well, but migrations of a database shared with nestjs-durable would conflict
    candidates = [block for block in found.blocks if (block.kind, block.fields) == (wanted.kind, wanted.fields)]
    if not any((block.type or "BTree") == (wanted.type or "BTree") for block in candidates):
        yield f" lacks an index; add: {wanted.source}"
    elif wanted.map and not any(block.map == wanted.map for block in candidates):
        yield f" has the index over ({', '.join(wanted.fields)}) under another name; write: {wanted.source}"


def _fills_itself(field: Field) -> bool:
    return (
        field.optional
        or field.list
        or field.default is not None
        or field.attribute("updatedAt") is not None
        or field.attribute("relation") is not None  # the scalar field of the relation is checked instead
    )
