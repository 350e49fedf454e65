"""Count and describe what is equal to the official runtime and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Set
from typing import Any

from tests.prisma_inprocess.parity.difference import outcome_difference

# Names the difference that the documentation explains, given the operation here, the official runtime's answer and what
# of them differs ("request", "plan", "outcome", "client"); None for one that is not explained.
Explain = Callable[[Mapping[str, Any], Mapping[str, Any], Set[str]], str | None]


class Report:
    """The comparison of the operations of one database.

    Args:
        most: How many characters describe a difference.
        explain: Names an outcome that may differ.
    """

    def __init__(self, *, most: int, explain: Explain = lambda _record, _answer, _found: None) -> None:
        self._most = most
        self._explain = explain
        self.equal: Counter[str] = Counter()
        self.explained: Counter[str] = Counter()
        self.operations = 0
        self.all_equal = 0

    @property
    def is_good(self) -> bool:
        """Return whether every operation is equal, or differs for a reason that the documentation explains."""
        return self.all_equal + self.explained.total() == self.operations

    def compare(self, record: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        """Compare one operation here with the official runtime's answer. Return what differs without a known reason."""
        differences = {
            "request": None if answer["sameRequest"] else f"here {record['request']}, official {answer['request']}",
            "plan": None if answer["samePlan"] else f"official {answer.get('plan', answer.get('planError'))}",
            "outcome": outcome_difference(record, answer),
            "client": record["raised"],
        }
        self.operations += 1
        found = {name: text for name, text in differences.items() if text is not None}
        self.equal.update(differences.keys() - found.keys())
        self.all_equal += not found
        reason = self._explain(record, answer, found.keys()) if found else None
        if reason is not None:
            self.explained[reason] += 1
            return []
        return [f"  DIFFERENT {name} of {record['label']}: {text[: self._most]}" for name, text in found.items()]

    def summary(self) -> str:
        """Return how many requests, plans and outcomes are equal."""
        return ", ".join(f"{name}s {self.equal[name]}" for name in ("request", "plan", "outcome"))
