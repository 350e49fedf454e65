"""Random operations that read: finds with orders, pages and includes, counts, groups."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from tests.prisma_inprocess.parity.foreign.filters import Filters
from tests.prisma_inprocess.parity.foreign.models import Field, Model

_NUMBERS: Final = ("Int", "BigInt", "Float", "Decimal")
# Types that have neither order nor equality in every database, or no aggregates.
_UNSORTED: Final = ("Json", "Bytes", "Boolean")
_UNSORTED_NATIVE: Final = ("Xml", "Uuid", "Bit", "VarBit", "Inet", "Money", "Oid", "Timetz", "Time")


class Reads:
    """Makes the arguments of the methods that read.

    Args:
        models: The models by name.
        filters: What makes the conditions.
        chance: The source of randomness.
    """

    def __init__(self, models: Mapping[str, Model], filters: Filters, chance: random.Random) -> None:
        self._models = models
        self._filters = filters
        self._chance = chance

    def find_many(self, model: Model) -> dict[str, Any]:
        return self._page(model, "order", take=True, depth=2)

    def find_first(self, model: Model) -> dict[str, Any]:
        return self._page(model, "order", take=False, depth=2)

    def find_unique(self, model: Model) -> dict[str, Any]:
        return {"where": self._filters.unique(model), **self.maybe_include(model, 2)}

    def count(self, model: Model) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if self._chance.random() < 0.7:
            arguments["where"] = self._filters.where(model, 2)
        kind = self._chance.choice(("all", "page", "cursor", "select", "select"))
        if kind == "page":
            # Without an order the page is any rows, but their number is known.
            arguments |= {"take": self._chance.randint(0, 9), "skip": self._chance.randint(0, 9)}
        elif kind == "cursor":
            arguments["cursor"] = self._filters.key(model)
        elif kind == "select":
            fields = self._chance.sample(model.scalars, k=min(3, len(model.scalars)))
            arguments["select"] = {"_all": True, **{field.name: True for field in fields}}
        return arguments

    def group_by(self, model: Model) -> dict[str, Any]:
        fields = [field for field in model.scalars if not field.is_list]
        sortable = [field for field in fields if field.type != "Json" and field.native != "Xml"]
        by = self._chance.sample(sortable, k=min(len(sortable), self._chance.choice((1, 1, 2))))
        numbers = [field for field in fields if field.type in _NUMBERS and field.native not in _UNSORTED_NATIVE]
        compared = [field for field in fields if self._is_sorted(field)]
        arguments: dict[str, Any] = {
            "by": [field.name for field in by],
            "order": [{field.name: self._direction()} for field in by],
        }
        if self._chance.random() < 0.5:
            arguments["where"] = self._filters.where(model, 1)
        if self._chance.random() < 0.3:
            arguments |= {"take": self._chance.randint(-3, 5), "skip": self._chance.randint(0, 2)}
        for name, possible in (("sum", numbers), ("avg", numbers), ("min", compared), ("max", compared)):
            if possible and self._chance.random() < 0.4:
                chosen = self._chance.sample(possible, k=min(len(possible), 2))
                arguments[name] = {field.name: True for field in chosen}
        if self._chance.random() < 0.5:
            arguments["count"] = self._chance.choice((True, {"_all": True, by[0].name: True}))
        if self._chance.random() < 0.4:
            arguments["having"] = self._having(by, numbers, compared)
        return arguments

    def maybe_include(self, model: Model, depth: int) -> dict[str, Any]:
        """Return an `include` argument, or none."""
        include = self._include(model, depth) if self._chance.random() < 0.5 else {}
        return {"include": include} if include else {}

    def _having(self, by: list[Field], numbers: list[Field], compared: list[Field]) -> dict[str, Any]:
        grouped = [field for field in by if self._is_sorted(field)]
        if grouped and self._chance.random() < 0.4:
            field = self._chance.choice(grouped)
            return {field.name: self._filters.comparison(field)}
        operator = self._chance.choice(("lt", "gte", "equals", "not"))
        if numbers and self._chance.random() < 0.6:
            aggregate = self._chance.choice(("_sum", "_avg"))
            bound = self._chance.choice((0, 1, 5) if aggregate == "_sum" else (0, 1, 2.5, 1.6))
            return {self._chance.choice(numbers).name: {aggregate: {operator: bound}}}
        if compared and self._chance.random() < 0.5:
            field = self._chance.choice(compared)
            return {field.name: {self._chance.choice(("_min", "_max")): self._filters.comparison(field)}}
        return {self._chance.choice([*by, *compared]).name: {"_count": {operator: self._chance.randint(0, 4)}}}

    def _page(self, model: Model, order: str, *, take: bool, depth: int) -> dict[str, Any]:
        chance = self._chance.random
        arguments: dict[str, Any] = {order: self._order(model)}
        if chance() < 0.6:
            arguments["where"] = self._filters.where(model, depth)
        if take and chance() < 0.4:
            arguments["take"] = self._chance.choice((-4, -2, -1, 0, 1, 2, 3, 5))
        if chance() < 0.25:
            arguments["skip"] = self._chance.randint(0, 3)
        if chance() < 0.2:
            arguments["cursor"] = self._filters.key(model)
        if chance() < 0.15:
            fields = [field for field in model.scalars if field.type != "Json" and field.native != "Xml"]
            chosen = self._chance.sample(fields, k=min(len(fields), self._chance.choice((1, 1, 2))))
            arguments["distinct"] = [field.name for field in chosen]
        return arguments | self.maybe_include(model, depth)

    def _order(self, model: Model) -> list[dict[str, Any]]:
        """Return an order that ends with the primary key: without it, equal rows come in any order."""
        order: list[dict[str, Any]] = []
        for _ in range(self._chance.choice((0, 1, 1, 2))):
            if model.relations and self._chance.random() < 0.25:
                relation = self._chance.choice(model.relations)
                related = self._models[relation.type]
                inner = "_count" if relation.is_list else self._chance.choice(related.id_fields)
                order.append({relation.name: {inner: self._direction()}})
                continue
            field = self._chance.choice([field for field in model.scalars if self._is_sorted(field)])
            if field.is_nullable and self._chance.random() < 0.4:
                nulls = self._chance.choice(("first", "last"))
                order.append({field.name: {"sort": self._direction(), "nulls": nulls}})
            else:
                order.append({field.name: self._direction()})
        return order + [{name: self._direction()} for name in model.id_fields]

    def _include(self, model: Model, depth: int) -> dict[str, Any]:
        include: dict[str, Any] = {}
        for relation in model.relations:
            if self._chance.random() > 0.35:
                continue
            related = self._models[relation.type]
            if relation.is_list:
                include[relation.name] = self._page(related, "order_by", take=True, depth=depth - 1)
            else:
                include[relation.name] = self.maybe_include(related, depth - 1) if depth > 1 else True
            if depth <= 1 and isinstance(include[relation.name], dict):
                include[relation.name].pop("include", None)
        return include

    def _direction(self) -> str:
        return self._chance.choice(("asc", "desc"))

    @staticmethod
    def _is_sorted(field: Field) -> bool:
        return (
            not field.is_list
            and field.kind == "scalar"
            and field.type not in _UNSORTED
            and field.native not in _UNSORTED_NATIVE
        )
