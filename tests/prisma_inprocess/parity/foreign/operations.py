"""A reproducible sequence of random operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.prisma_inprocess.parity.capture import LabelledCall
from tests.prisma_inprocess.parity.foreign.filters import Filters
from tests.prisma_inprocess.parity.foreign.models import Model, read_enums, read_models
from tests.prisma_inprocess.parity.foreign.reads import Reads
from tests.prisma_inprocess.parity.foreign.values import Values
from tests.prisma_inprocess.parity.foreign.writes import Writes
from tests.prisma_inprocess.parity.operations import call
from tests.prisma_inprocess.workbench import Rich

_WEIGHTS: Final = {
    "find_many": 24,
    "find_first": 8,
    "find_unique": 6,
    "count": 6,
    "group_by": 10,
    "create": 14,
    "create_many": 4,
    "update": 14,
    "update_many": 5,
    "upsert": 8,
    "delete": 3,
    "delete_many": 1,
}
# The tables are empty at first. The number is fixed, so that fewer operations of a seed are the first ones of more.
_FIRST: Final = ("create", "create", "create_many", "upsert")
_FIRST_NUMBER: Final = 200


class RandomOperations:
    """Makes the same operations for the same seed.

    Args:
        rich: The client that is called.
        dmmf: Prisma's description of its schema.
        seed: What the randomness starts from.
    """

    def __init__(self, rich: Rich, dmmf: Mapping[str, Any], seed: int) -> None:
        self._seed = seed
        self._models = list(read_models(dmmf).values())
        self._chance = random.Random(seed)
        models = {model.name: model for model in self._models}
        values = Values(rich, read_enums(dmmf), self._chance)
        filters = Filters(models, values, self._chance, rich.provider)
        reads = Reads(models, filters, self._chance)
        writes = Writes(models, filters, reads, values, self._chance, rich.provider)
        made_by = {name: writes if hasattr(writes, name) else reads for name in _WEIGHTS}
        self._makers: dict[str, Callable[[Model], dict[str, Any]]] = {
            name: getattr(made_by[name], name) for name in _WEIGHTS
        }

    def take(self, number: int) -> Iterator[LabelledCall]:
        """Make so many operations, each with a label that has the seed and the call."""
        methods, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        for index in range(number):
            model = self._chance.choice(self._models)
            is_first = index < _FIRST_NUMBER
            method = self._chance.choice(_FIRST) if is_first else self._chance.choices(methods, weights)[0]
            arguments = self._makers[method](model)
            table = model.name.lower()
            text = ", ".join(f"{name}={_text(value)}" for name, value in arguments.items())
            yield f"seed {self._seed} #{index}: db.{table}.{method}({text})", call(table, method, **arguments)


def _text(value: Any) -> str:
    """Return a value as it would be written in Python."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if type(value).__name__ == "Json":
        return f"Json({value.data!r})"
    if type(value).__name__ == "Base64":
        return f"Base64.encode({value.decode()!r})"
    return repr(value)
