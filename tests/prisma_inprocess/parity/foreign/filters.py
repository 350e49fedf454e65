"""Random `where` trees, and keys of one row."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from tests.prisma_inprocess.parity.foreign.known import list_filters
from tests.prisma_inprocess.parity.foreign.models import Field, Model
from tests.prisma_inprocess.parity.foreign.values import Values

_ORDERED: Final = ("lt", "lte", "gt", "gte")
# Native types that have no `LIKE`, and some of them no order.
_UNORDERED: Final = ("Uuid", "Inet", "Bit", "VarBit", "Xml")


class Filters:
    """Makes random conditions for the models of a schema.

    Args:
        models: The models by name.
        values: What chooses the values that are compared.
        chance: The source of randomness.
        provider: The database, which decides whether texts are compared without case, and Json by path.
    """

    def __init__(self, models: Mapping[str, Model], values: Values, chance: random.Random, provider: str) -> None:
        self._models = models
        self._values = values
        self._chance = chance
        self._is_postgres = provider == "postgresql"

    def key(self, model: Model) -> dict[str, Any]:
        """Return the unique key of a row that may or may not exist."""
        name, fields = self._chance.choice(list(model.keys.items()))
        values = {field: self._values.one(model.by_name[field], key=True) for field in fields}
        return values if len(fields) == 1 and name in model.by_name else {name: values}

    def unique(self, model: Model) -> dict[str, Any]:
        """Return a key, sometimes with a further condition on its row."""
        where = self.key(model)
        if self._chance.random() < 0.1:
            where["NOT"] = [self.where(model, 0)]
        return where

    def where(self, model: Model, depth: int) -> dict[str, Any]:
        """Return conditions on a model's rows, and on related rows up to a depth."""
        where: dict[str, Any] = {}
        for _ in range(self._chance.choice((0, 0, 1, 1, 1, 2))):
            if depth > 0 and model.relations and self._chance.random() < 0.35:
                relation = self._chance.choice(model.relations)
                where[relation.name] = self._relation(relation, depth - 1)
            else:
                field = self._chance.choice(model.scalars)
                where[field.name] = self._scalar(field, key=field.name in model.key_fields)
        if depth > 0 and self._chance.random() < 0.25:
            operator = self._chance.choice(("AND", "OR", "NOT"))
            where[operator] = [self.where(model, depth - 1) for _ in range(self._chance.choice((0, 1, 1, 2, 2, 3)))]
        return where

    def comparison(self, field: Field, *, key: bool = False) -> Any:
        """Return a condition on a value that can be sorted."""
        operators = [*_ORDERED, "equals", "in", "not_in", "not"]
        if field.type == "String":
            operators += ["contains", "startswith", "endswith"]
        return self._operator(field, self._chance.choice(operators), key=key)

    def _relation(self, relation: Field, depth: int) -> Any:
        related = self._models[relation.type]
        if relation.is_list:
            return {self._chance.choice(("some", "every", "none")): self.where(related, depth)}
        kinds = ["is", "is_not", "plain", *(["none"] if relation.is_nullable else [])]
        kind = self._chance.choice(kinds)
        if kind == "none":
            return self._chance.choice((None, {"is": None}, {"is_not": None}))
        where = self.where(related, depth)
        return where if kind == "plain" else {kind: where}

    def _scalar(self, field: Field, *, key: bool) -> Any:
        if field.is_list:
            return self._list(field)
        if field.is_nullable and self._chance.random() < 0.15:
            return self._chance.choice((None, {"equals": None}, {"not": None}))
        if field.type == "Json":
            return self._json(field)
        if self._chance.random() < 0.25:
            return self._values.one(field, key=key)
        if field.kind == "enum" or field.type == "Bytes" or field.native in _UNORDERED:
            return self._operator(field, self._chance.choice(("equals", "in", "not_in", "not")), key=key)
        if field.type == "Boolean":
            return self._operator(field, self._chance.choice(("equals", "not")), key=key)
        condition = self.comparison(field, key=key)
        if self._chance.random() < 0.15:
            condition |= self.comparison(field, key=key)
        if self._is_postgres and field.type == "String" and self._chance.random() < 0.15:
            condition["mode"] = "insensitive"
        return {"not": condition} if "mode" not in condition and self._chance.random() < 0.1 else condition

    def _operator(self, field: Field, operator: str, *, key: bool) -> dict[str, Any]:
        if operator in ("in", "not_in"):
            return {operator: self._values.some(field, key=key)}
        return {operator: self._values.one(field, key=key)}

    def _list(self, field: Field) -> dict[str, Any]:
        operator = self._chance.choice(list_filters(field))
        if operator == "is_empty":
            return {operator: self._chance.random() < 0.5}
        return {operator: self._values.one(field) if operator == "has" else self._values.some(field, 2)}

    def _json(self, field: Field) -> dict[str, Any]:
        operator = self._chance.choice(("equals", "not"))
        if not self._is_postgres or self._chance.random() < 0.6:
            return {operator: self._values.one(field)}
        path = self._chance.choice((["a"], ["a", "b"], ["a", "l"], ["0"]))
        if self._chance.random() < 0.4:
            text = self._chance.choice(("string_contains", "string_starts_with", "string_ends_with"))
            return {"path": path, text: self._chance.choice(("he", "lo", "x"))}
        return {"path": path, operator: self._values.one(field)}
