"""Random operations that write, with nested writes of every kind."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from tests.prisma_inprocess.parity.foreign.filters import Filters
from tests.prisma_inprocess.parity.foreign.known import list_operators, number_operators
from tests.prisma_inprocess.parity.foreign.models import Field, Model
from tests.prisma_inprocess.parity.foreign.reads import Reads
from tests.prisma_inprocess.parity.foreign.values import Values

_TO_MANY: Final = ("create", "connect", "connect_or_create", "createMany")
_TO_MANY_UPDATE: Final = (*_TO_MANY, "set", "disconnect", "delete", "update", "upsert", "updateMany", "deleteMany")
_TO_ONE: Final = ("create", "connect", "connect_or_create")


class Writes:
    """Makes the arguments of the methods that write.

    Args:
        models: The models by name.
        filters: What makes the conditions.
        reads: What makes the includes.
        values: What chooses the values that are written.
        chance: The source of randomness.
        provider: The database, which decides what may be written.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        filters: Filters,
        reads: Reads,
        values: Values,
        chance: random.Random,
        provider: str,
    ) -> None:
        self._models = models
        self._filters = filters
        self._reads = reads
        self._values = values
        self._chance = chance
        self._provider = provider

    def create(self, model: Model) -> dict[str, Any]:
        return {"data": self._new(model, 2), **self._reads.maybe_include(model, 1)}

    def create_many(self, model: Model) -> dict[str, Any]:
        if self._chance.random() < 0.3:  # rows of one shape, enough for the engine's faster way
            names = {name for name in self._new(model, 0) if name in model.by_name}
            rows = [self._row(model, names) for _ in range(self._chance.randint(20, 23))]
        else:
            rows = [self._new(model, 0) for _ in range(self._chance.randint(0, 4))]
        return {"data": rows}

    def update(self, model: Model) -> dict[str, Any]:
        where = self._filters.unique(model)
        return {"where": where, "data": self._changes(model, 2), **self._reads.maybe_include(model, 1)}

    def update_many(self, model: Model) -> dict[str, Any]:
        return {"where": self._filters.where(model, 2), "data": self._changes(model, 0, keys=False)}

    def upsert(self, model: Model) -> dict[str, Any]:
        where = self._filters.key(model)
        create = self._new(model, 1)
        if self._chance.random() < 0.7:
            key = next(iter(where.values()))
            # The row that is created is usually the one that was looked for.
            same = key if isinstance(key, dict) else where
            if same.keys() <= create.keys() or not model.foreign_keys & same.keys():
                create |= same
        data = {"create": create, "update": self._changes(model, 1)}
        return {"where": where, "data": data, **self._reads.maybe_include(model, 1)}

    def delete(self, model: Model) -> dict[str, Any]:
        return {"where": self._filters.unique(model), **self._reads.maybe_include(model, 1)}

    def delete_many(self, model: Model) -> dict[str, Any]:
        # A condition on a key as well, so that tables do not stay empty.
        key = model.by_name[self._chance.choice(model.id_fields)]
        return {"where": {"AND": [self._filters.where(model, 2), {key.name: self._values.one(key, key=True)}]}}

    def _new(self, model: Model, depth: int, parent: Field | None = None) -> dict[str, Any]:
        """Return a new row: with foreign keys as values, or with nested writes that set them.

        Args:
            model: The row's model.
            depth: How deep nested writes may go.
            parent: The relation through which the row is created, which sets its foreign key itself.
        """
        by_relation = depth > 0 and self._chance.random() < 0.6
        row: dict[str, Any] = {}
        given = set(parent.own_columns) if parent is not None else set()
        for field in model.scalars:
            if field.name in given or (by_relation and field.name in model.set_by_database):
                continue
            is_needed = field.is_required and not field.is_list and not field.has_default
            is_key = field.name in model.key_fields
            if is_needed or (is_key and not field.is_nullable) or self._chance.random() < 0.4:
                row[field.name] = self._value(field, is_key=is_key)
        if depth <= 0:
            return row
        for relation in model.relations:
            if relation == parent or (relation.own_columns and not by_relation):
                continue
            is_needed = relation.is_required and not relation.is_list
            if is_needed or self._chance.random() < 0.2:
                row[relation.name] = self._nested(model, relation, _TO_MANY if relation.is_list else _TO_ONE, depth - 1)
        return row

    def _row(self, model: Model, names: set[str]) -> dict[str, Any]:
        return {name: self._value(model.by_name[name], is_key=name in model.key_fields) for name in sorted(names)}

    def _value(self, field: Field, *, is_key: bool) -> Any:
        if field.is_list:
            return self._values.some(field)
        if field.is_nullable and self._chance.random() < 0.2:
            return None
        return self._values.one(field, key=is_key)

    def _changes(self, model: Model, depth: int, parent: Field | None = None, *, keys: bool = True) -> dict[str, Any]:
        """Return changes of a row; `keys` says whether its keys may change."""
        by_relation = depth > 0 and self._chance.random() < 0.7
        left_out = set(parent.own_columns) if parent is not None else set()
        if by_relation:
            left_out |= model.set_by_database
        if not keys:
            left_out |= model.key_fields
        changes: dict[str, Any] = {}
        for field in model.scalars:
            is_key = field.name in model.key_fields
            if field.name not in left_out and self._chance.random() < (0.1 if is_key else 0.3):
                changes[field.name] = self._change(field, is_key=is_key)
        for relation in model.relations if depth > 0 else ():
            if relation == parent or (relation.own_columns and not by_relation) or self._chance.random() > 0.3:
                continue
            changes[relation.name] = self._nested(model, relation, self._update_kinds(relation), depth - 1)
        return changes

    def _update_kinds(self, relation: Field) -> tuple[str, ...]:
        if relation.is_list:
            return _TO_MANY_UPDATE
        return (*_TO_ONE, "update", "upsert", *(("disconnect", "delete") if relation.is_nullable else ()))

    def _change(self, field: Field, *, is_key: bool) -> Any:
        value = self._value(field, is_key=is_key)
        if field.is_list:
            operator = self._chance.choice(list_operators(field))
            return value if operator == "plain" else {operator: value}
        if field.type in ("Int", "BigInt", "Float", "Decimal") and self._chance.random() < 0.5:
            operator = self._chance.choice(number_operators(field, self._provider))
            number = self._chance.choice((1, 2) if operator in ("multiply", "divide") else (1, 2, 3))
            return {operator: Decimal(number) if field.type == "Decimal" else number}
        return {"set": value} if field.type != "Json" and self._chance.random() < 0.2 else value

    def _nested(self, model: Model, relation: Field, kinds: tuple[str, ...], depth: int) -> dict[str, Any]:
        """Return a write to related rows: one kind of it, or two."""
        related = self._models[relation.type]
        parent = model.opposite(related, relation)
        is_many_to_many = relation.is_list and parent.is_list
        chosen = self._chance.sample(kinds, k=2 if relation.is_list and self._chance.random() < 0.25 else 1)
        write = self._many if relation.is_list else self._one
        return {
            kind: write(related, parent, kind, depth)
            for kind in chosen
            if not (kind == "createMany" and is_many_to_many)  # there is none
        } or {"connect": write(related, parent, "connect", depth)}

    def _one(self, related: Model, parent: Field, kind: str, depth: int) -> Any:
        if kind == "create":
            return self._new(related, depth, parent)
        if kind == "connect":
            return self._filters.key(related)
        if kind == "connect_or_create":
            return {"where": self._filters.key(related), "create": self._new(related, depth, parent)}
        if kind == "update":
            return self._changes(related, depth, parent)
        if kind == "upsert":
            return {"create": self._new(related, depth, parent), "update": self._changes(related, depth, parent)}
        return True

    def _many(self, related: Model, parent: Field, kind: str, depth: int) -> Any:
        if kind == "createMany":
            return {"data": [self._new(related, 0, parent) for _ in range(self._chance.randint(1, 3))]}
        if kind == "updateMany":
            changes = self._changes(related, 0, parent, keys=False)
            return [{"where": self._filters.where(related, 0), "data": changes}]
        if kind == "deleteMany":
            return [self._filters.where(related, 0)]
        return [self._item(related, parent, kind, depth) for _ in range(self._chance.choice((1, 1, 2)))]

    def _item(self, related: Model, parent: Field, kind: str, depth: int) -> Any:
        key = self._filters.key(related)
        if kind == "update":
            return {"where": key, "data": self._changes(related, depth, parent)}
        if kind in ("upsert", "connect_or_create", "create"):
            new = self._new(related, depth, parent)
            if kind == "create":
                return new
            if kind == "connect_or_create":
                return {"where": key, "create": new}
            return {"where": key, "create": new, "update": self._changes(related, depth, parent)}
        return key
