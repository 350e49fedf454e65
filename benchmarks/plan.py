"""Which systems are measured, in which cases, and how much of each."""

from dataclasses import dataclass, field
from typing import Final

PEER_CASES: Final = {
    "one step, 1 caller": 20,
    "one step, 16 callers": 160,
    "one step, 64 callers": 640,
    "100 steps": 100,
    "16 x 100 steps": 50,
}
JOB_CASES: Final = {name: size for name, size in PEER_CASES.items() if "steps" not in name}
OUR_CASES: Final = {
    **PEER_CASES,
    "signal to receipt": 60,
    "replay": 1000,
    "enqueue and drain": 1000,
    "waiting runs": 1000,
    "idle": 5,
}
FULL_ONLY: Final = {
    "16 x 100 steps": 100,
    "one step, 64 callers": 6400,
    "replay": 10_000,
    "enqueue and drain": 10_000,
    "waiting runs": 10_000,
    "resume of killed runs": 1000,
}


@dataclass(frozen=True)
class SystemPlan:
    """One system on one database.

    Attributes:
        name: As the table shows it.
        module: Under `benchmarks.systems`.
        database: `sqlite` or `postgresql`.
        environment: The file in `benchmarks/requirements` that its virtual environment is made from; None: this one.
        set_up: Arguments of a command of its environment that prepares the database; `{url}` is its address.
    """

    name: str
    module: str
    database: str
    environment: str | None = None
    cases: dict[str, int] = field(default_factory=lambda: dict(PEER_CASES))
    set_up: tuple[str, ...] | None = None


OURS: Final = ("fastapi_durable, PostgreSQL", "fastapi_durable, SQLite")
SYSTEMS: Final = (
    SystemPlan(OURS[0], "ours", "postgresql", cases=dict(OUR_CASES)),
    SystemPlan(OURS[1], "ours", "sqlite", cases=dict(OUR_CASES)),
    SystemPlan("DBOS, PostgreSQL", "dbos", "postgresql", "dbos"),
    SystemPlan("DBOS, SQLite", "dbos", "sqlite", "dbos"),
    SystemPlan("Absurd, PostgreSQL", "absurd", "postgresql", "absurd", set_up=("absurdctl", "init", "-d", "{url}")),
    SystemPlan("Unhinged, SQLite", "unhinged", "sqlite", "unhinged"),
    SystemPlan("pgqueuer (jobs), PostgreSQL", "pgqueuer", "postgresql", "pgqueuer", cases=dict(JOB_CASES)),
    SystemPlan("limit: asyncpg", "limits", "postgresql", cases={"commits, 1 caller": 500, "commits, 16 callers": 4000}),
    SystemPlan("limit: sqlite3", "limits", "sqlite", cases={"commits, 1 caller": 2000}),
)


@dataclass(frozen=True)
class Target:
    """A ratio that performance is to reach: ours over the peer's, by `figure` of `case`.

    Attributes:
        at_least: The smallest ratio that meets it; None if `at_most` counts.
    """

    case: str
    figure: str
    ours: str
    peer: str | None
    at_least: float | None = None
    at_most: float | None = None


_PG, _LITE = OURS
TARGETS: Final = (
    Target("one step, 64 callers", "per_second", _PG, "DBOS, PostgreSQL", at_least=20),
    Target("one step, 64 callers", "per_second", _PG, "Absurd, PostgreSQL", at_least=10),
    Target("one step, 64 callers", "per_second", _PG, "pgqueuer (jobs), PostgreSQL", at_least=2),
    Target("one step, 64 callers", "per_second", _LITE, "DBOS, SQLite", at_least=40),
    Target("one step, 64 callers", "per_second", _LITE, "Unhinged, SQLite", at_least=5),
    Target("one step, 1 caller", "p50_ms", _PG, "DBOS, PostgreSQL", at_most=0.3),
    Target("one step, 1 caller", "p50_ms", _LITE, "DBOS, SQLite", at_most=0.1),
    Target("16 x 100 steps", "per_second", _PG, "DBOS, PostgreSQL", at_least=25),
    Target("16 x 100 steps", "per_second", _PG, "Absurd, PostgreSQL", at_least=10),
    Target("16 x 100 steps", "per_second", _LITE, "DBOS, SQLite", at_least=40),
    Target("16 x 100 steps", "per_second", _LITE, "Unhinged, SQLite", at_least=3),
    Target("one step, 1 caller", "statements", _PG, None, at_most=4),
    Target("one step, 1 caller", "statements", _LITE, None, at_most=4),
    Target("100 steps", "statements", _PG, None, at_most=1.05),
    Target("100 steps", "statements", _LITE, None, at_most=1.05),
    Target("idle", "statements", _PG, None, at_most=2),
    Target("idle", "statements", _LITE, None, at_most=2),
    Target("one step, 64 callers", "statements", _PG, None, at_most=1),
    Target("one step, 64 callers", "statements", _LITE, None, at_most=1),
    Target("replay", "total_ms", _PG, None, at_most=10),
    Target("replay", "total_ms", _LITE, None, at_most=5),
    Target("signal to receipt", "p50_ms", _LITE, None, at_most=1),
    Target("waiting runs", "megabytes", _PG, None, at_most=50),
    Target("waiting runs", "megabytes", _LITE, None, at_most=50),
)
