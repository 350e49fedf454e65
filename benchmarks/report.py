"""The results as JSON, as tables in Markdown, and as a chart; written by the tool and never by hand."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.plan import OURS, PEER_CASES, SYSTEMS
from benchmarks.targets import TARGETS, Target

_SHOWN: Final = {
    "one step, 1 caller": ("per_second", "p50_ms", "cpu_ms", "server_cpu_ms", "statements"),
    "one step, 16 callers": ("per_second", "cpu_ms", "server_cpu_ms", "statements"),
    "one step, 64 callers": ("per_second", "cpu_ms", "server_cpu_ms", "statements"),
    "100 steps": ("per_second", "cpu_ms", "server_cpu_ms", "statements"),
    "16 x 100 steps": ("per_second", "cpu_ms", "server_cpu_ms", "statements"),
    "signal to receipt": ("p50_ms", "cpu_ms", "statements"),
    "replay": ("total_ms", "cpu_ms", "statements"),
    "replay of a long run": ("total_ms", "cpu_ms", "statements"),
    "pick-up by another process": ("p50_ms",),
    "cold start": ("total_ms",),
    "enqueue and drain": ("per_second", "cpu_ms", "statements"),
    "waiting runs": ("megabytes", "per_second"),
    "resume of killed runs": ("total_ms", "per_second"),
    "long run": ("per_second", "growth"),
    "beside finished runs": ("start_growth", "claim_growth", "timers_growth"),
    "idle": ("cpu_ms", "statements"),
    "footprint": ("bytes", "step_bytes", "written_bytes", "dead_rows"),
    "commits, 1 caller": ("per_second", "cpu_ms"),
    "commits, 16 callers": ("per_second", "cpu_ms"),
}
_WORDS: Final = {
    "per_second": "/s",
    "p50_ms": "p50 ms",
    "cpu_ms": "CPU ms",
    "server_cpu_ms": "server CPU ms",
    "statements": "statements",
    "total_ms": "ms",
    "megabytes": "MB",
    "bytes": "bytes a run",
    "step_bytes": "bytes a further step",
    "written_bytes": "bytes written a run",
    "dead_rows": "dead row versions a run",
    "growth": "a late step to an early one",
    "start_growth": "start",
    "claim_growth": "claim",
    "timers_growth": "due timers",
}
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_LIMIT_OF: Final = {
    "one step, 1 caller": (2, "commits, 1 caller"),
    "one step, 16 callers": (2, "commits, 16 callers"),
    "one step, 64 callers": (2, "commits, 16 callers"),
    "100 steps": (1, "commits, 1 caller"),
    "16 x 100 steps": (1, "commits, 16 callers"),
}
"""Commits of an operation, and what measures how many there can be."""
_CHARTED: Final = ("one step, 64 callers", "16 x 100 steps")


def write_report(report: dict[str, Any], directory: Path) -> str:
    """Write `performance.json`, `performance.svg` and the measured part of `performance.md`; return what to print."""
    results = report["results"]
    (directory / "performance.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (directory / "performance.svg").write_text(_chart(results))
    ratios, targets = "\n".join(_ratios(results)), "\n".join(_targets(results))
    limits = "\n".join(_limits(results))
    parts = [*_head(report), "", *_tables(results), *_absent(report), "## Ratios", "", ratios, "", targets]
    text = "\n".join([*parts, "", "## How near the database's own limit", "", limits])
    page = directory / "performance.md"
    if page.exists() and _BEGIN in (old := page.read_text()):
        before, after = old.partition(_BEGIN)[0], old.partition(_END)[2]
        page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")
    else:
        page.write_text(f"# Performance\n\n{_BEGIN}\n{text}\n{_END}\n")
    return f"{ratios}\n\n{targets}"


def _head(report: dict[str, Any]) -> Iterator[str]:
    loads = report["load"]
    yield (
        f"Measured {report['at']} on {report['cores']} cores in the {report['form']} form, median of "
        f"{report['rounds']} rounds, all systems in each round. Load per core before it: {loads[0]} (quiet is "
        f"at most {report['quiet']}); during it up to {max(loads)}, its own included."
    )
    if loads[0] > report["quiet"]:
        yield ""
        yield (
            "**The machine was busy with other work.** Wall times are much longer than on a quiet one and throw the "
            "systems together; CPU per operation and statements hold better."
        )
    yield ""
    yield "![Operations a second](performance.svg)"


def _tables(results: dict[str, Any]) -> Iterator[str]:
    for case, figures in _SHOWN.items():
        rows = [(plan.name, results[plan.name][case]) for plan in SYSTEMS if case in results.get(plan.name, {})]
        if not rows:
            continue
        columns = [name for name in figures if any(row.get(name) for _, row in rows)] or list(figures[:1])
        yield f"### {case[0].upper()}{case[1:]}"
        yield ""
        yield f"| | {' | '.join(_WORDS[name] for name in columns)} |"
        yield f"|---|{'---|' * len(columns)}"
        for name, row in rows:
            cells = (_number(row[column]) if row.get(column) else "" for column in columns)
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""


def _absent(report: dict[str, Any]) -> Iterator[str]:
    for name, reason in report["absent"].items():
        yield f"{name}: not measured: {reason}"
        yield ""


def _ratios(results: dict[str, Any]) -> Iterator[str]:
    yield "| how many times the peer's | operations a second | client CPU | |"
    yield "|---|---|---|---|"
    for case in PEER_CASES:
        for plan in SYSTEMS:
            ours = next(name for name in OURS if _database_of(name) == plan.database)
            if plan.name in OURS or case not in results.get(plan.name, {}) or case not in results.get(ours, {}):
                continue
            mine, peer = results[ours][case], results[plan.name][case]
            times = mine["per_second"] / peer["per_second"]
            yield (
                f"| {case}: {plan.name} | {times:.1f} | {mine['cpu_ms'] / peer['cpu_ms']:.2f} "
                f"| {'ahead' if times >= 1 else '**behind**'} |"
            )


def _limits(results: dict[str, Any]) -> Iterator[str]:
    """How far each of our cells is from what the database commits beside it, with nothing around.

    A run takes two commits, a step of a long run one. Runs that are driven together share commits, so a cell may pass
    the limit of lone ones.
    """
    yield "| | the database's own | of it |"
    yield "|---|---|---|"
    for case, (commits, limit) in _LIMIT_OF.items():
        for ours in OURS:
            beside = next(
                (plan.name for plan in SYSTEMS if plan.module == "limits" and plan.database == _database_of(ours)), ""
            )
            found = results.get(beside, {})
            limiting = found.get(limit) or found.get("commits, 1 caller")
            if limiting is None or case not in results.get(ours, {}):
                continue
            most = limiting["per_second"] / commits
            share = results[ours][case]["per_second"] / most
            yield f"| {case}: {ours} | {_number(most)} /s | {share:.0%} |"


def _database_of(system: str) -> str:
    return "sqlite" if system.endswith("SQLite") else "postgresql"


def _targets(results: dict[str, Any]) -> Iterator[str]:
    yield "| target | wanted | measured | |"
    yield "|---|---|---|---|"
    for target in TARGETS:
        numbers = _numbers(results, target)
        wanted = f"at least {target.at_least:g}" if target.at_least is not None else f"at most {target.at_most:g}"
        unit = " times the peer's" if target.peer else ""
        label = f"{target.case}, {_WORDS[target.figure]}: {target.ours}{f' to {target.peer}' if target.peer else ''}"
        if numbers is None:
            yield f"| {label} | {wanted}{unit} | | not measured |"
            continue
        found = numbers[0] / numbers[1] if target.peer else numbers[0]
        shown = f"{_number(found)} ({' to '.join(map(_number, numbers))})" if target.peer else _number(found)
        yield f"| {label} | {wanted}{unit} | {shown} | {'met' if target.is_met_by(found) else '**not met**'} |"


def _numbers(results: dict[str, Any], target: Target) -> list[float] | None:
    """Our figure and, if there is a peer, its figure."""
    systems = [target.ours] if target.peer is None else [target.ours, target.peer]
    try:
        return [results[system][target.case][target.figure] for system in systems]
    except KeyError:
        return None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _chart(results: dict[str, Any]) -> str:
    bars: list[str] = []
    y = 20
    for case in _CHARTED:
        rows = [(plan.name, results[plan.name][case]) for plan in SYSTEMS if case in results.get(plan.name, {})]
        bars.append(f'<text x="10" y="{y}" font-weight="bold">{case}, operations a second</text>')
        longest = max((row["per_second"] for _, row in rows), default=1)
        for name, row in rows:
            y += 24
            width = max(1, round(420 * row["per_second"] / longest))
            colour = "#0f766e" if name in OURS else "#94a3b8"
            bars.append(f'<text x="10" y="{y + 4}">{name}</text>')
            bars.append(f'<rect x="230" y="{y - 9}" width="{width}" height="16" fill="{colour}"/>')
            bars.append(f'<text x="{236 + width}" y="{y + 4}">{_number(row["per_second"])}</text>')
        y += 44
    style = "font: 13px sans-serif; fill: #334155"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y}" style="{style}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(bars)}</svg>\n'
    )
