"""`python -m benchmarks`: measures every system, round after round, and writes the results, the table and the chart."""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.plan import FULL_ONLY, SYSTEMS, SystemPlan
from benchmarks.report import write_report
from benchmarks.surroundings import REPOSITORY, fresh_database, load, python_of, server

Measured = dict[str, dict[str, dict[str, float]]]
"""System, case, figure."""

_QUIET = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="repeats, of which the median counts")
    parser.add_argument("--full", action="store_true", help="all cases at their full size, seven rounds")
    parser.add_argument("--share", type=float, default=1, help="of the callers' work, for a machine in a hurry")
    parser.add_argument("--only", default="", help="systems whose name contains this")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs", help="where the report goes")
    arguments = parser.parse_args()
    rounds = 7 if arguments.full else arguments.rounds
    plans = [plan for plan in SYSTEMS if arguments.only in plan.name]
    loads = [load()]
    if loads[0] > _QUIET:
        print(f"The machine is not quiet (load {loads[0]:.1f} a core): compare ratios only, and those with care.")
    absent: dict[str, str] = {}
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    with server() as running, tempfile.TemporaryDirectory() as directory:
        os.environ["BENCHMARK_SERVER"] = str(running.process_id)
        for number in range(rounds):
            # Interleaved, so that a busy minute hits every system alike.
            for plan in plans:
                if plan.name in absent:
                    continue
                try:
                    url = fresh_database(plan, running, Path(directory), number)
                    measured = _measure(plan, url, full=arguments.full, share=arguments.share)
                except (RuntimeError, subprocess.SubprocessError) as error:
                    absent[plan.name] = str(error)
                    print(f"{plan.name}: not measured: {error}", flush=True)
                    continue
                for case, figures in measured.items():
                    results.setdefault(plan.name, {}).setdefault(case, []).append(figures)
                print(f"round {number + 1}: {plan.name}", flush=True)
            loads.append(load())
    medians: Measured = {
        system: {case: _median(repeats) for case, repeats in cases.items()} for system, cases in results.items()
    }
    report = {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "share": arguments.share,
        "load": [round(value, 2) for value in loads],
        "absent": absent,
        "results": medians,
    }
    print(write_report(report, arguments.output))


def _measure(plan: SystemPlan, url: str, *, full: bool, share: float) -> dict[str, dict[str, float]]:
    cases = {**plan.cases, **(FULL_ONLY if full and plan.module == "ours" else {})}
    # Callers need some work each, and a run of steps its length.
    cases = {case: max(64, round(size * share)) if "64 callers" in case else size for case, size in cases.items()}
    command: list[str | Path] = [
        python_of(plan.environment),
        "-m",
        f"benchmarks.systems.{plan.module}",
        url,
        json.dumps(cases),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    found: dict[str, dict[str, float]] = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"case"'):
            figures: dict[str, Any] = json.loads(line)
            case = figures.pop("case")
            if "missing" not in figures:
                found[case] = figures
    if not found:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise RuntimeError(last)
    return found


def _median(repeats: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(repeat[name] for repeat in repeats) for name in repeats[0]}


if __name__ == "__main__":
    main()
