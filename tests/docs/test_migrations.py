"""docs/migrations.md: its project is made, its commands are run, and they print what stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.migrations import REPOSITORY

PAGE = (REPOSITORY / "docs" / "migrations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
_STAMP = re.compile(r"\d{14}(?=_)")


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """Blocks are executed in their order, in a project of their own."""
    (tmp_path / "node_modules").symlink_to(REPOSITORY / "node_modules")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for kind, content in BLOCKS:
        if kind == "prisma":
            (tmp_path / "schema.prisma").write_text(content, encoding="utf-8")
        elif kind == "python":
            done = _run([sys.executable, "-c", content], tmp_path, environment)
            (said,) = re.findall(r"It prints `(.*?)` and `(.*?)`", PAGE)
            assert done.splitlines() == list(said)
        else:
            assert kind == "console"
            _check_console(content, tmp_path, environment)


def _check_console(content: str, folder: Path, environment: dict[str, str]) -> None:
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", content, re.MULTILINE):
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            environment[name] = value
            continue
        program, *arguments = shlex.split(command)
        assert program == "python"
        printed = _run([sys.executable, *arguments], folder, environment)
        assert _STAMP.sub("20260101120000", printed) == expected


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_lists_every_command_and_its_options() -> None:
    """The tables of the page and the parser have the same names."""
    listed = set(re.findall(r"^\| `((?:migrate|db) \w+|validate|format)` \|", PAGE, re.MULTILINE))
    named = set(re.findall(r"--[a-z-]+", PAGE.partition("## Commands")[2].partition("## In Python")[0]))
    commands: set[str] = set()
    options: set[str] = set()
    for group in ("", "migrate", "db"):
        for name in _choices(group):
            full = f"{group} {name}".strip()
            if full not in ("migrate", "db", "generate"):
                commands.add(full)
                options |= set(re.findall(r"(?<![\w-])--[a-z-]+", _help(full)))
    assert listed == commands
    aliases = {"--from-schema-datamodel", "--to-schema-datamodel"}
    assert {option for option in options if not option.startswith("--to-")} - {"--help"} - aliases <= named


def _choices(group: str) -> list[str]:
    return re.findall(r"^    (\w+)\s", _help(group), re.MULTILINE)


def _help(command: str) -> str:
    import argparse

    from prisma_inprocess.__main__ import command_line

    parser = command_line("prisma-inprocess")
    for word in command.split():
        (actions,) = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        parser = actions.choices[word]
    return parser.format_help()
