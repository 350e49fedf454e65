"""`python -m fastapi_durable runs`: what it prints and does."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from fastapi_durable.__main__ import main

pytestmark = pytest.mark.slow  # each starts processes

DESK = """
import asyncio
from datetime import UTC, datetime
from fastapi_durable import *

store = MemoryStateStore()

@step
async def weigh(parcel: str) -> int:
    if parcel == "heavy":
        raise FatalError("too heavy\\x1b]0;mine\\x07 \\x9b2J\\u202e", code="heavy")
    return len(parcel)

@workflow
async def send(ctx: WorkflowContext, parcel: str) -> int:
    return await ctx.step(weigh, parcel)

@workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("[t]", str)

durable = DurableModule.for_root(DurableOptions(store=store, poll_interval="10ms"), workflows=[send, waits])

async def seed():
    async with durable.running(role="all") as runtime:
        await runtime.service.execute(send, "abc", run_id="good", timeout="60s")
        await runtime.service.start(send, "heavy", run_id="bad")
        await runtime.service.start(waits, run_id="waits")
        async with asyncio.timeout(60):
            while {run.status for run in await store.list_runs(RunQuery())} != {"completed", "failed", "suspended"}:
                await asyncio.sleep(0.005)

asyncio.run(seed())
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls an action on a module with three runs, and returns the exit code and what was printed."""
    (tmp_path / "runs_desk.py").write_text(DESK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.syspath_prepend(str(tmp_path))

    def call(action: str, *arguments: str) -> tuple[int, str, str]:
        code = main(["runs", action, "runs_desk:durable", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield call
    sys.modules.pop("runs_desk", None)


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_runs_are_listed_for_people_and_for_scripts(run: Any) -> None:
    """The same runs, as a table or as one document a line."""
    code, table, _ = run("list")
    assert code == 0
    assert all(text in table for text in ("good", "bad", "waits", "signal [t]", "completed", "failed", "suspended"))
    _, text, _ = run("list", "--status", "failed", "--status", "completed", "--json")
    assert {each["id"] for each in documents(text)} == {"good", "bad"}
    assert run("list", "--tag", "none")[1].strip() == "no runs"


def test_an_id_stands_on_one_line_and_a_run_does_where_no_terminal_limits_it(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are copied, and lines are searched; in a terminal the other columns are broken first."""
    run("list")
    run_id = "0e5b1f6e-6f0a-4b43-9d3c-a5f0d1c7b2e8.parcel0"

    async def start() -> None:
        durable = sys.modules["runs_desk"].durable
        async with durable.running(role="api") as runtime:
            await runtime.service.start("send", "abc", run_id=run_id)

    asyncio.run(start())
    monkeypatch.setenv("COLUMNS", "80")
    assert run_id in run("list")[1]
    monkeypatch.setenv("COLUMNS", "60")
    assert run_id not in run("list")[1], "there is no room for the others"
    monkeypatch.delenv("COLUMNS")
    assert len(run("list")[1].splitlines()) == len(("the header", "good", "bad", "waits", run_id))


def test_a_run_is_shown_with_its_steps(run: Any) -> None:
    """With the error of the one that failed; an unknown one is an error of its own."""
    _, shown, _ = run("show", "bad")
    assert "too heavy" in shown
    assert "weigh" in shown
    assert re.search(r'runs_desk.py", line \d+, in weigh\n', shown), "where the step's own code raised"
    (detail,) = documents(run("show", "good", "--json")[1])
    assert (detail["output"], detail["timeline"][0]["name"]) == (3, "weigh")
    code, _, error = run("show", "nobody")
    assert (code, "nobody" in error) == (1, True)


@pytest.mark.parametrize("action", ["show", "tail"])
def test_what_a_run_says_does_not_steer_the_terminal(run: Any, action: str) -> None:
    """An error's text may come from anywhere: escape sequences are shown as what they are, nothing."""
    _, shown, _ = run(action, "bad")
    assert "too heavy\ufffd]0;mine\ufffd \ufffd2J\ufffd" in shown
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


def test_runs_are_cancelled_retried_and_signalled(run: Any) -> None:
    """The exit code says whether it was done."""
    assert run("signal", "later", '{"a": 1}', "--json")[1] == '{"received": false}\n'
    code, out, _ = run("pause", "waits")
    assert (code, "waits is paused, and suspended" in out) == (0, True)
    assert run("resume", "waits")[0] == 0
    assert run("pause", "good")[0] == 1
    assert run("cancel", "waits")[0] == 0
    assert run("cancel", "good")[0] == 1
    assert documents(run("retry", "bad", "--json")[1]) == [{"run_id": "bad", "status": "pending"}]
    assert run("retry", "good")[0] == 1


def test_a_run_is_followed_to_its_end(run: Any) -> None:
    """Each step, and then the run; the exit code tells success."""
    code, text, _ = run("tail", "good", "--json")
    assert (code, [(each["what"], each["status"]) for each in documents(text)]) == (
        0,
        [("weigh", "completed"), ("send", "completed")],
    )
    code, text, _ = run("tail", "bad")
    assert code == 1
    assert "too heavy" in text


def test_wrong_usage_is_told_before_anything_starts(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A condition or a payload that cannot be read."""
    for arguments in (["list", "--attr", "x"], ["list", "--limit", "0"], ["signal", "t", "{"]):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 2


def test_without_rich_a_table_says_what_to_install(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And scripts do not need it."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    code, _, error = run("list")
    assert code == 1
    assert "fastapi-durable[cli]" in error
    assert run("list", "--json")[0] == 0
