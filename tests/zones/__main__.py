"""Compares every time zone of the database with a walk through its minutes: `python -m tests.zones`, or `make zones`.

Zones whose clocks are the same from the first year to the last are compared once. Every day of the years is compared
with expressions that fire a few times a day, and the days around each change of a clock with more of them; with
`--changes-only`, these alone.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from multiprocessing import Pool
from random import Random
from zoneinfo import ZoneInfo, available_timezones

from tests.zones.compare import Comparison, changes, compare, compare_around, years


def clocks(begin: datetime, end: datetime) -> dict[tuple[object, ...], list[str]]:
    """The names of the database, those together whose offsets are the same at every quarter of an hour that matters."""
    same: dict[tuple[object, ...], list[str]] = {}
    for name in sorted(available_timezones()):
        same.setdefault(tuple(_offsets(ZoneInfo(name), begin, end)), []).append(name)
    return same


def _offsets(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[tuple[datetime, timedelta | None]]:
    """The offset at the beginning, and each later one with the quarter of an hour in which it begins."""
    day, offset = begin, begin.astimezone(zone).utcoffset()
    yield day, offset
    while day < end:
        following = day + timedelta(days=1)
        if following.astimezone(zone).utcoffset() != offset:
            for change in changes(zone, day, following):
                yield change, change.astimezone(zone).utcoffset()
            offset = following.astimezone(zone).utcoffset()
        day = following


def compare_clock(name: str, *, first: int, last: int, changes_only: bool) -> tuple[str, int, Comparison]:
    begin, end = years(first, last)
    random, comparison = Random(name), Comparison()
    found = [change for change, _ in _offsets(ZoneInfo(name), begin, end)][1:]
    for change in found:
        comparison.add(compare_around(name, change, random))
    if not changes_only:
        comparison.add(compare(name, begin, end, random))
    return name, len(found), comparison


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zones")
    parser.add_argument("--first", type=int, default=2026, help="the first year")
    parser.add_argument("--last", type=int, default=2035, help="the last year, included")
    parser.add_argument("--changes-only", action="store_true", help="leave out the days far from a change")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    began = time.monotonic()
    same = clocks(*years(arguments.first, arguments.last))
    names = [each[0] for each in same.values()]
    print(f"{sum(map(len, same.values()))} names, {len(names)} different clocks", flush=True)
    work = partial(compare_clock, first=arguments.first, last=arguments.last, changes_only=arguments.changes_only)
    total, changed = Comparison(), 0
    with Pool(arguments.processes) as pool:
        for number, (name, found, comparison) in enumerate(pool.imap_unordered(work, names), start=1):
            total.add(comparison)
            changed += found
            print(f"{number:4} {name}: {found} changes, {comparison.windows} windows", flush=True)
            for difference in comparison.differences:
                print(f"     {difference}", flush=True)
    print(
        f"{arguments.first}-{arguments.last}: {len(names)} clocks, {changed} changes, {total.windows} windows, "
        f"{total.questions} questions, {len(total.differences)} differences, {time.monotonic() - began:.0f} s"
    )
    return 1 if total.differences else 0


if __name__ == "__main__":
    sys.exit(main())
