"""The tutorial in one empty folder, page by page: files are written, commands are run and compared."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.migrations import REPOSITORY

TUTORIAL = REPOSITORY / "docs" / "tutorial"
NAVIGATION = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
PAGES = re.findall(r"- tutorial/([\w-]+\.md)", NAVIGATION)
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_WORDS_THAT_DIFFER = (
    (re.compile(r"\d{14}(?=_)"), "20260101120000"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "an id"),
    (re.compile(r"in \d+\.\d+s"), "in 0.50s"),
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Reader:
    """Somebody who does what the tutorial says, in a folder and with two terminals."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {"8000": str(free_port()), "8001": str(free_port())}
        self._servers: list[subprocess.Popen[bytes]] = []
        commands = Path(sys.executable).parent
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE")}
        self._environment["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"

    def write(self, kind: str, name: str, text: str) -> None:
        """Write a file, or add models to the schema."""
        path = self._folder / name
        before = f"{path.read_text(encoding='utf-8')}\n" if kind == "prisma" else ""
        path.write_text(before + text, encoding="utf-8")

    def type(self, lines: str) -> None:
        """Run the commands of a block, and compare what they print."""
        for line, expected in re.findall(r"^(\$ .*|\^C)\n((?:(?!\$ |\^C).*\n)*)", lines, re.MULTILINE):
            command = line.removeprefix("$ ")
            if command == "^C" or command.startswith("kill %"):
                self.stop(signal.SIGINT)
            elif command.startswith("pkill -9"):
                self.stop(signal.SIGKILL)
            elif command == "fastapi dev":
                self._serve(f"fastapi dev --host 127.0.0.1 --port {self._ports['8000']} --no-reload")
            elif command.endswith(" &"):
                self._serve(self._with_ports(command.removesuffix(" &")))
            elif command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                self._environment[name] = value
            elif command.startswith("unset "):
                del self._environment[command.removeprefix("unset ")]
            elif not command.startswith("pip install "):
                self._compare(self._with_ports(command), expected)

    def stop(self, how: signal.Signals) -> None:
        for server in self._servers:
            os.killpg(server.pid, how)
        for server in self._servers:
            server.wait(30)
        self._servers.clear()

    def _with_ports(self, command: str) -> str:
        for written, port in self._ports.items():
            command = re.sub(rf"(?<=localhost:){written}|(?<=port ){written}", port, command)
        return command

    def _compare(self, command: str, expected: str) -> None:
        # What is read may not be there yet; what changes something is done once.
        reads = command.startswith("curl") and " -d " not in command and " -X " not in command
        deadline = time.monotonic() + (60 if reads else 0)
        printed = self._run(command)
        while usual(printed) != usual(expected) and time.monotonic() < deadline:
            time.sleep(0.1)
            printed = self._run(command)
        assert usual(printed) == usual(expected), command

    def _run(self, command: str) -> str:
        done = subprocess.run(
            shlex.split(command),
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout if done.stdout.endswith("\n") or not done.stdout else f"{done.stdout}\n"

    def _serve(self, command: str) -> None:
        port = int(command.split("port ")[1].split(maxsplit=1)[0])
        variables = dict(re.findall(r"^([A-Z_]+)=(\S+) ", command))
        words = shlex.split(re.sub(r"^([A-Z_]+=\S+ )+", "", command))
        server = subprocess.Popen(
            words,
            cwd=self._folder,
            env=self._environment | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._servers.append(server)
        deadline = time.monotonic() + 60
        while server.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        pytest.fail(f"{command} does not listen")


def usual(printed: str) -> str:
    for pattern, replacement in _WORDS_THAT_DIFFER:
        printed = pattern.sub(replacement, printed)
    return printed


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    (folder / "node_modules").symlink_to(REPOSITORY / "node_modules")
    found = Reader(folder)
    try:
        yield found
    finally:
        found.stop(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    assert PAGES
    assert sorted(PAGES) == sorted(path.name for path in TUTORIAL.glob("*.md"))
    with reader(tmp_path) as person:
        for page in PAGES:
            for kind, name, text in _BLOCK.findall((TUTORIAL / page).read_text(encoding="utf-8")):
                if kind == "console":
                    person.type(text)
                else:
                    person.write(kind, name, text)
