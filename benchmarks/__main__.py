"""`python -m benchmarks`: measures every system, round after round, and writes the results, the table and the chart."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.plan import SYSTEMS, SystemPlan
from benchmarks.report import write_report
from benchmarks.surroundings import REPOSITORY, fresh_database, load, python_of, server

Measured = dict[str, dict[str, dict[str, float]]]
"""System, case, figure."""

_QUIET = 0.5
"""Load per core up to which a machine counts as quiet."""


@dataclass(frozen=True)
class Form:
    """How much is done.

    Attributes:
        rounds: At most so many repeats, of which the median counts.
        minutes: No round is begun that would end later.
        case_seconds, system_seconds: How long a case, and a system in one round, may take.
    """

    name: str
    rounds: int
    minutes: float
    case_seconds: float
    system_seconds: float


_SHORT = Form("short", rounds=3, minutes=5, case_seconds=30, system_seconds=120)
_FULL = Form("full", rounds=5, minutes=60, case_seconds=600, system_seconds=1800)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="repeats, of which the median counts")
    parser.add_argument("--minutes", type=float, help="begin no round that would end later")
    parser.add_argument("--full", action="store_true", help="all cases at their full size")
    parser.add_argument("--only", default="", help="systems whose name contains this")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs", help="where the report goes")
    arguments = parser.parse_args()
    # Before anything is measured: a report that cannot be written would lose all of it.
    arguments.output.mkdir(parents=True, exist_ok=True)
    form = _FULL if arguments.full else _SHORT
    rounds, minutes = arguments.rounds or form.rounds, arguments.minutes or form.minutes
    plans = [plan for plan in SYSTEMS if arguments.only in plan.name]
    loads = [load()]
    if loads[0] > _QUIET:
        print(f"The machine is not quiet (load {loads[0]:.1f} a core): compare ratios only, and those with care.")
    absent: dict[str, str] = {}
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    done, begin = 0, time.monotonic()
    with server() as running, tempfile.TemporaryDirectory() as directory:
        os.environ |= {"BENCHMARK_SERVER": str(running.process_id), "BENCHMARK_PSQL": str(running.programs / "psql")}
        while done < rounds and (not done or (time.monotonic() - begin) * (done + 1) / done < minutes * 60):
            # Interleaved, so that a busy minute hits every system alike.
            for plan in plans:
                if plan.name in absent:
                    continue
                try:
                    url = fresh_database(plan, running, Path(directory), done)
                    cases = plan.sizes(done, full=arguments.full)
                    measured, missing = _measure(plan, url, cases, form)
                except (RuntimeError, subprocess.SubprocessError) as error:
                    absent[plan.name] = str(error)
                    print(f"{plan.name}: not measured: {error}", flush=True)
                    continue
                absent |= {f"{plan.name}, {case}": reason for case, reason in missing.items()}
                for case, figures in measured.items():
                    results.setdefault(plan.name, {}).setdefault(case, []).append(figures)
                print(f"round {done + 1}: {plan.name} ({time.monotonic() - begin:.0f} s)", flush=True)
            loads.append(load())
            done += 1
    medians: Measured = {
        system: {case: _median(repeats) for case, repeats in cases.items()} for system, cases in results.items()
    }
    report = {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": os.cpu_count(),
        "form": form.name,
        "rounds": done,
        "quiet": _QUIET,
        "load": [round(value, 2) for value in loads],
        "absent": absent,
        "results": medians,
    }
    print(write_report(report, arguments.output))


def _measure(
    plan: SystemPlan, url: str, cases: dict[str, int], form: Form
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The figures of each case, and why there are none.

    Raises:
        RuntimeError: there are no figures at all.
    """
    command: list[str | Path] = [
        python_of(plan.environment),
        "-m",
        f"benchmarks.systems.{plan.module}",
        url,
        json.dumps(cases),
        str(form.case_seconds),
    ]
    output, problem = _run(command, form.system_seconds)
    found: dict[str, dict[str, float]] = {}
    missing: dict[str, str] = {}
    for line in output.splitlines():
        if line.startswith('{"case"'):
            figures: dict[str, Any] = json.loads(line)
            case = figures.pop("case")
            if "missing" in figures:
                missing[case] = figures["missing"]
            else:
                found[case] = figures
    if not found:
        raise RuntimeError("; ".join(missing.values()) or problem)
    missing |= {case: problem for case in cases if case not in found and case not in missing}
    return found, missing


def _run(command: list[str | Path], seconds: float) -> tuple[str, str]:
    """What a command prints, and its last word if it is in trouble; it is ended, with all that it started, in time."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=seconds)
        return output, (errors.strip().splitlines() or ["it printed nothing"])[-1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return output, f"it was ended after {seconds:g} s"


def _median(repeats: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(repeat[name] for repeat in repeats) for name in repeats[0]}


if __name__ == "__main__":
    main()
