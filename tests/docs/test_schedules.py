"""The table of docs/how-to/schedules.md that says what schedules do when clocks change, run line by line."""

import re
from datetime import UTC, date, datetime, time
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fastapi_durable import Schedule

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "schedules.md").read_text(encoding="utf-8")
SECTION = re.split(r"^##+ ", TEXT.partition("## When clocks change\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
HEAD, _, *LINES = (
    [cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line.startswith("|")
)
BERLIN = ZoneInfo("Europe/Berlin")
DAYS = {"28 March": date(2026, 3, 28), "29 March": date(2026, 3, 29), "25 October": date(2026, 10, 25)}


def declared(expression: str) -> Schedule:
    interval = re.fullmatch(r'every="(.+)"', expression)
    if interval is not None:
        return Schedule(key="k", workflow="w", every=interval[1])
    return Schedule(key="k", workflow="w", cron=expression, timezone="Europe/Berlin")


def as_written(windows: list[datetime]) -> str:
    """`02:00 02:15 CEST, 02:00 CET`"""
    zones = groupby((window.astimezone(BERLIN) for window in windows), key=datetime.tzname)
    return ", ".join(" ".join(f"{each:%H:%M}" for each in group) + f" {zone}" for zone, group in zones) or "none"


def windows_between(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    for window in schedule.windows_after(begin):
        if window > end:
            break
        found.append(window)
    return found


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
@pytest.mark.parametrize("day", DAYS)
def test_a_schedule_fires_when_clocks_change_as_the_document_says(line: list[str], day: str) -> None:
    """Forwards; and backwards they are the same."""
    schedule = declared(line[0].strip("`"))
    begin = datetime.combine(DAYS[day], time(1, 30), BERLIN).astimezone(UTC)
    end = datetime.combine(DAYS[day], time(3, 30), BERLIN).astimezone(UTC)
    windows = windows_between(schedule, begin, end)
    assert as_written(windows) == line[HEAD.index(day)]
    backwards = []
    for window in schedule.windows_until(end):
        if window <= begin:
            break
        backwards.append(window)
    assert backwards == windows[::-1]
