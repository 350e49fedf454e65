"""The models of a schema, as the generator of random operations needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field of a model, from Prisma's description of the schema."""

    name: str
    kind: str  # scalar, enum or object
    type: str
    is_list: bool
    is_required: bool
    has_default: bool
    is_counted: bool  # by the database: autoincrement()
    native: str | None
    relation: str | None
    own_columns: tuple[str, ...]  # the foreign key's, where this side of the relation has it

    @property
    def is_relation(self) -> bool:
        return self.kind == "object"

    @property
    def is_nullable(self) -> bool:
        return not self.is_required and not self.is_list


@dataclass(frozen=True)
class Model:
    """A model: its fields, and its unique keys by the name of the argument that a query gives them."""

    name: str
    fields: tuple[Field, ...]
    keys: Mapping[str, tuple[str, ...]]

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def scalars(self) -> list[Field]:
        """The fields that a query may give a value. Those that the client fills with the time are left out."""
        return [field for field in self.fields if not field.is_relation and field.name != "updated"]

    @cached_property
    def relations(self) -> list[Field]:
        return [field for field in self.fields if field.is_relation]

    @cached_property
    def foreign_keys(self) -> set[str]:
        return {column for field in self.fields for column in field.own_columns}

    @cached_property
    def set_by_database(self) -> set[str]:
        """The fields that Prisma takes only beside foreign keys, and not beside nested writes that set these."""
        return self.foreign_keys | {field.name for field in self.fields if field.is_counted}

    @cached_property
    def id_fields(self) -> tuple[str, ...]:
        return next(iter(self.keys.values()))

    @cached_property
    def key_fields(self) -> set[str]:
        """The fields whose values should often meet: keys and foreign keys."""
        return self.foreign_keys.union(*self.keys.values())

    def opposite(self, other: Model, relation: Field) -> Field:
        """Return the other side of a relation from this model to `other`."""
        return next(
            field
            for field in other.relations
            if field.relation == relation.relation and (self.name != other.name or field.name != relation.name)
        )


def read_models(dmmf: Mapping[str, Any]) -> dict[str, Model]:
    """Return the models of a schema by their names."""
    return {model["name"]: _model(model) for model in dmmf["datamodel"]["models"]}


def read_enums(dmmf: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the values of each enum."""
    return {enum["name"]: [value["name"] for value in enum["values"]] for enum in dmmf["datamodel"]["enums"]}


def _model(data: Mapping[str, Any]) -> Model:
    keys = {field["name"]: (field["name"],) for field in data["fields"] if field["isId"]}
    compound = [data["primaryKey"]] if data["primaryKey"] else []
    for key in [*compound, *data["uniqueIndexes"]]:
        keys[key["name"] or "_".join(key["fields"])] = tuple(key["fields"])
    keys |= {field["name"]: (field["name"],) for field in data["fields"] if field["isUnique"]}
    return Model(data["name"], tuple(_field(field) for field in data["fields"]), keys)


def _field(data: Mapping[str, Any]) -> Field:
    native = data.get("nativeType")
    return Field(
        name=data["name"],
        kind=data["kind"],
        type=data["type"],
        is_list=data["isList"],
        is_required=data["isRequired"],
        has_default=data["hasDefaultValue"],
        is_counted=isinstance(data.get("default"), dict) and data["default"]["name"] == "autoincrement",
        native=native[0] if native else None,
        relation=data.get("relationName"),
        own_columns=tuple(data.get("relationFromFields") or ()),
    )
