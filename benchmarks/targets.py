"""What is wanted: figures of ours, and ratios of ours to a peer's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.plan import OURS


@dataclass(frozen=True)
class Target:
    """A figure of a case, ours or ours over the peer's, and its bound.

    Attributes:
        at_least: The smallest number that meets it; None if `at_most` counts.
    """

    case: str
    figure: str
    ours: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def is_met_by(self, number: float) -> bool:
        if self.at_least is not None:
            return number >= self.at_least
        return self.at_most is None or number <= self.at_most


_PG, _LITE = OURS


def _both(case: str, figure: str, *, at_most: float, sqlite: float | None = None) -> Iterator[Target]:
    yield Target(case, figure, _PG, at_most=at_most)
    yield Target(case, figure, _LITE, at_most=at_most if sqlite is None else sqlite)


TARGETS: Final = (
    Target("one step, 64 callers", "per_second", _PG, "DBOS, PostgreSQL", at_least=20),
    Target("one step, 64 callers", "per_second", _PG, "Absurd, PostgreSQL", at_least=15),
    Target("one step, 64 callers", "per_second", _PG, "pgqueuer (jobs), PostgreSQL", at_least=2),
    Target("one step, 64 callers", "per_second", _LITE, "DBOS, SQLite", at_least=25),
    Target("one step, 64 callers", "per_second", _LITE, "Unhinged, SQLite", at_least=8),
    Target("one step, 16 callers", "per_second", _PG, "pgqueuer (jobs), PostgreSQL", at_least=1.5),
    Target("one step, 16 callers", "per_second", _PG, "DBOS, PostgreSQL", at_least=12),
    Target("one step, 16 callers", "per_second", _LITE, "DBOS, SQLite", at_least=18),
    Target("one step, 1 caller", "p50_ms", _PG, "DBOS, PostgreSQL", at_most=0.22),
    Target("one step, 1 caller", "p50_ms", _LITE, "DBOS, SQLite", at_most=0.12),
    Target("16 x 100 steps", "per_second", _PG, "DBOS, PostgreSQL", at_least=25),
    Target("16 x 100 steps", "per_second", _PG, "Absurd, PostgreSQL", at_least=12),
    Target("16 x 100 steps", "per_second", _LITE, "DBOS, SQLite", at_least=30),
    Target("16 x 100 steps", "per_second", _LITE, "Unhinged, SQLite", at_least=4),
    Target("16 x 100 steps", "cpu_ms", _LITE, "Unhinged, SQLite", at_most=1),
    *_both("one step, 1 caller", "statements", at_most=4),
    *_both("100 steps", "statements", at_most=1.05),
    *_both("idle", "statements", at_most=2),
    *_both("one step, 64 callers", "statements", at_most=1),
    *_both("replay", "total_ms", at_most=6, sqlite=5),
    Target("resume of killed runs", "total_ms", _PG, "DBOS, PostgreSQL", at_most=0.15),
    Target("resume of killed runs", "total_ms", _LITE, "DBOS, SQLite", at_most=0.1),
    Target("signal to receipt", "p50_ms", _PG, "DBOS, PostgreSQL", at_most=0.25),
    Target("signal to receipt", "p50_ms", _LITE, at_most=1.5),
    *_both("pick-up by another process", "p50_ms", at_most=10, sqlite=20),
    *_both("waiting runs", "megabytes", at_most=50),
    *_both("long run", "growth", at_most=1.2),
    *_both("beside finished runs", "start_growth", at_most=1.2),
    *_both("beside finished runs", "claim_growth", at_most=1.2),
    *_both("beside finished runs", "timers_growth", at_most=1.2),
)
