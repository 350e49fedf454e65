"""What is looked at when everything has ended; it asks the database itself, not the library."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.customers import Customers
from tests.chaos.databases import ChaosDatabase
from tests.chaos.queues import QueueFindings, audit_queue
from tests.chaos.workload import PARCELS, PIECES, RUNS_OF_A_JOB, TICK, expected_entries, expected_output, tally_of

_TERMINAL = ("completed", "failed", "cancelled", "dead")
_ENTITIES: Final = "workflow = '__entity'"
"""They never end: each waits for its next operation."""
_OF_JOBS: Final = ("chaos_job", "chaos_piece", "chaos_parcel")


@dataclass
class Findings:
    """What went wrong, a line each.

    Attributes:
        lost: Runs and effects that should be there and are not, or came out wrong.
        failed: Runs that ended otherwise than by success: nothing in their code fails.
        duplicated: Effects that are there twice.
        stuck: Runs that have not ended.
        left: Leases, slots, waiters and signals that nobody needs any more.
        broken: Limits of queues that were not kept.
    """

    runs: int = 0
    ticks: int = 0
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    queues: tuple[QueueFindings, ...] = ()

    @property
    def summary(self) -> str:
        counts = {"lost": self.lost, "duplicated": self.duplicated, "stuck": self.stuck, "failed": self.failed}
        return ", ".join([f"runs {self.runs}", *(f"{name} {len(lines)}" for name, lines in counts.items())])


def unfinished(database: ChaosDatabase) -> int:
    """How many runs have not ended yet."""
    busy = f"status NOT IN {_TERMINAL} AND NOT ({_ENTITIES} AND status = 'suspended' AND locked_by IS NULL)"
    return int(database.rows(f"SELECT count(*) FROM durable_workflow_runs WHERE {busy}")[0][0])


def audit(database: ChaosDatabase, customers: Customers, tallies: Mapping[str, int]) -> Findings:
    """Compare what is there with what was asked for; `tallies` is what the entities counted."""
    found = Findings(lost=list(customers.wrong))
    rows = database.rows(f"SELECT id, status, output, error, workflow FROM durable_workflow_runs WHERE NOT {_ENTITIES}")
    runs = {row[0]: row[1:] for row in rows}
    found.runs = len(runs)
    for run_id, (status, *rest) in runs.items():
        if status not in _TERMINAL:
            found.stuck.append(f"{run_id} is {status}")
        elif status != "completed":
            found.failed.append(f"{run_id} is {status}: {rest}")
    entries: defaultdict[str, list[str]] = defaultdict(list)
    for job, entry in database.rows("SELECT job, entry FROM chaos_ledger"):
        entries[job].append(entry)
    for job in customers.jobs:
        _audit_job(job, runs, entries[job], found)
    _audit_ticks(entries[TICK.key], found)
    of_jobs = sum(workflow in _OF_JOBS for *_, workflow in runs.values())
    if of_jobs != len(customers.jobs) * RUNS_OF_A_JOB:
        found.lost.append(f"there are {of_jobs} runs of {len(customers.jobs)} jobs with {RUNS_OF_A_JOB} each")
    for key, wanted in Counter(map(tally_of, customers.jobs)).items():
        if (counted := tallies.get(key, 0)) != wanted:
            (found.lost if counted < wanted else found.duplicated).append(f"{key} counted {counted} of {wanted} jobs")
    found.queues = tuple(audit_queue(database, queue) for queue in (PIECES, PARCELS))
    for each in found.queues:
        found.broken += each.wrong
        found.left += each.left
        if each.begun < len(customers.jobs):
            found.lost.append(f"{each.begun} runs began in queue {each.queue.name} of {len(customers.jobs)} jobs")
    _look_for_leftovers(database, customers, found)
    return found


def _audit_job(job: str, runs: dict[str, list[str]], entries: list[str], found: Findings) -> None:
    if job not in runs:
        found.lost.append(f"{job} has no run")
        return
    status, output, *_ = runs[job]
    if status == "completed" and output.strip('"') != expected_output(job):
        found.lost.append(f"{job} returned {output}")
    counted, wanted = Counter(entries), Counter(expected_entries(job))
    found.duplicated += [f"{job}: {entry} ({times} times)" for entry, times in counted.items() if times > 1]
    found.lost += [f"{job}: no entry {entry!r}" for entry in wanted - counted]
    found.lost += [f"{job}: unexpected entry {entry!r}" for entry in set(counted) - set(wanted)]


def _audit_ticks(entries: list[str], found: Findings) -> None:
    """Every window from the first to the last one fired, each once."""
    counted = Counter(int(run_id.rpartition(":")[2]) for run_id in entries)
    found.ticks = len(counted)
    found.duplicated += [f"window {window} fired {times} times" for window, times in counted.items() if times > 1]
    if counted:
        missing = set(range(min(counted), max(counted))) - set(counted)
        found.lost += [f"window {window} did not fire" for window in sorted(missing)]


def _look_for_leftovers(database: ChaosDatabase, customers: Customers, found: Findings) -> None:
    for (run_id,) in database.rows("SELECT id FROM durable_workflow_runs WHERE locked_by IS NOT NULL"):
        found.left.append(f"a lease on {run_id}")
    # Slots of singletons are waiters too; those of queues are leases.
    owners = f"SELECT id FROM durable_workflow_runs WHERE {_ENTITIES} AND status = 'suspended'"
    for token, run_id in database.rows(
        f"SELECT token, run_id FROM durable_signal_waiters WHERE run_id NOT IN ({owners})"
    ):
        found.left.append(f"a waiter of {run_id} for {token}")
    for (token,) in database.rows("SELECT token FROM durable_buffered_signals"):
        # Sent again after its answer was lost: only its sender could have known that it had arrived.
        if token not in customers.sent_again:
            found.left.append(f"a buffered signal {token}")
