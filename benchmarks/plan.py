"""Which systems are measured, in which cases, and how much of each."""

from dataclasses import dataclass, field
from typing import Final

PEER_CASES: Final = {
    "one step, 1 caller": 1,
    "one step, 16 callers": 1,
    "one step, 64 callers": 2,
    "100 steps": 1,
    "16 x 100 steps": 2,
}
"""Callers, and for how many seconds they call."""
_SIZE: Final = {"footprint": 500}
JOB_CASES: Final = {name: size for name, size in PEER_CASES.items() if "steps" not in name} | _SIZE
DBOS_CASES: Final = {**PEER_CASES, **_SIZE, "signal to receipt": 20, "resume of killed runs": 200}
OUR_CASES: Final = {
    **PEER_CASES,
    **_SIZE,
    "signal to receipt": 60,
    "replay": 1000,
    "pick-up by another process": 10,
    "cold start": 1,
    "enqueue and drain": 2000,
    "idle": 5,
    "waiting runs": 1000,
    "resume of killed runs": 200,
    "long run": 2000,
    "beside finished runs": 50_000,
}
FULL: Final = {
    **dict.fromkeys(PEER_CASES, 10),
    "pick-up by another process": 100,
    "cold start": 5,
    "enqueue and drain": 10_000,
    "idle": 10,
    "waiting runs": 10_000,
    "resume of killed runs": 1000,
    "long run": 10_000,
    "beside finished runs": 1_000_000,
    "footprint": 5000,
}
"""Sizes of the full form."""
OURS_IN_FULL: Final = {"replay of a long run": 10_000}
"""Cases of the full form only."""
ONCE: Final = frozenset(
    {
        "footprint",
        "cold start",
        "pick-up by another process",
        "idle",
        "enqueue and drain",
        "waiting runs",
        "resume of killed runs",
        "long run",
        "beside finished runs",
        "replay of a long run",
    }
)
"""Measured in the first round only: they take long, or are ratios within themselves."""


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
    cases: dict[str, int] = field(default_factory=lambda: {**PEER_CASES, **_SIZE})
    set_up: tuple[str, ...] | None = None

    def sizes(self, number: int, *, full: bool) -> dict[str, int]:
        """The cases of a round, the first one being 0, with the size of each."""
        cases = dict(self.cases)
        if full:
            cases = {case: FULL.get(case, size) for case, size in cases.items()}
            if self.module == "ours":
                cases |= OURS_IN_FULL
        return {case: size for case, size in cases.items() if number == 0 or case not in ONCE}


OURS: Final = ("fastapi_durable, PostgreSQL", "fastapi_durable, SQLite")
SYSTEMS: Final = (
    SystemPlan(OURS[0], "ours", "postgresql", cases=dict(OUR_CASES)),
    SystemPlan(OURS[1], "ours", "sqlite", cases=dict(OUR_CASES)),
    SystemPlan("DBOS, PostgreSQL", "dbos", "postgresql", "dbos", cases=dict(DBOS_CASES)),
    SystemPlan("DBOS, SQLite", "dbos", "sqlite", "dbos", cases=dict(DBOS_CASES)),
    SystemPlan("Absurd, PostgreSQL", "absurd", "postgresql", "absurd", set_up=("absurdctl", "init", "-d", "{url}")),
    SystemPlan("Unhinged, SQLite", "unhinged", "sqlite", "unhinged"),
    SystemPlan("pgqueuer (jobs), PostgreSQL", "pgqueuer", "postgresql", "pgqueuer", cases=dict(JOB_CASES)),
    SystemPlan("limit: asyncpg", "limits", "postgresql", cases={"commits, 1 caller": 500, "commits, 16 callers": 4000}),
    SystemPlan("limit: sqlite3", "limits", "sqlite", cases={"commits, 1 caller": 2000}),
)
