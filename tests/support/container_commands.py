"""Carry out the commands that `init --with docker` writes, where no container can be made: part of `make check-wheel`.

Each command of the Dockerfile runs as root in a folder that stands for the image's, then the commands of compose.yaml
run at once, as the image's user, who owns nothing, has no home and can write to /tmp only. No image is built: what the
files say of Docker itself is not tried.
"""

# ruff: noqa: T201 (a script talks to its user)

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

SECONDS = 120
VARIABLE = "DATABASE_URL"


def check(project: Path, commands: Path, url: str) -> None:
    """Make a project for containers, and run a workflow with web and worker in it.

    Args:
        project: The folder of the project, which is made.
        commands: The folder of an environment's commands, with the wheels installed.
        url: An empty database of PostgreSQL.

    Raises:
        SystemExit: a command failed, or the workflow did not complete.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        print("  left out: it needs root, and setpriv of util-linux")
        return
    project.mkdir()
    _run(["fastapi-durable", "init", "--with", "docker"], project, commands, {})
    _run(["fastapi-durable", "migrate", "dev", "--name", "first", "--create-only"], project, commands, {VARIABLE: url})
    image = _Image((project / "Dockerfile").read_text(encoding="utf-8"), project)
    for line in image.builds:
        _run(["/bin/sh", "-c", line], project, commands, image.environment)
    (project / ".env").unlink()
    for path in (project, *project.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    if len(list(project.rglob("schema_engine_bg-*.cwasm"))) != 1:
        raise SystemExit("the image lacks the compiled engine of the migrations")
    services = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for path in project.parents:  # a temporary folder is its owner's alone
        path.chmod(path.stat().st_mode | 0o011)

    def environment(name: str) -> dict[str, str]:
        return {**image.environment, **services[name]["environment"], VARIABLE: url}

    def command(name: str) -> list[str]:
        return [*image.as_user, *services[name].get("command", image.command)]

    before = _files(project)
    _run(command("migrate"), project, commands, environment("migrate"))
    port = _free_port()
    web = [str(port) if word == "8000" else word for word in command("web")]
    with (
        _running(web, project, commands, environment("web")),
        _running(command("worker"), project, commands, environment("worker")),
    ):
        run = _until_completed(f"http://127.0.0.1:{port}")
    if run["output"] != "Good day, ada":
        raise SystemExit(f"the workflow returned {run['output']!r}")
    if _files(project) != before:
        raise SystemExit("a container wrote into its image")


class _Image:
    """What a Dockerfile says.

    Args:
        text: The Dockerfile.
        project: The folder that stands for the image's.
    """

    def __init__(self, text: str, project: Path) -> None:
        found = re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)
        self.builds = [rest for word, rest in found if word == "RUN" and not rest.startswith("pip ")]
        self.environment = {
            name: value.replace("/opt/", f"{project}/opt/")
            for word, rest in found
            if word == "ENV"
            for name, _, value in (each.partition("=") for each in shlex.split(rest))
        }
        said = dict(found)
        self.command: list[str] = json.loads(said["CMD"])
        user, _, group = said["USER"].partition(":")
        # The one thing that root keeps: to read what lies in its home, such as the interpreter of a version manager.
        reading = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
        setpriv = str(shutil.which("setpriv"))
        self.as_user = [setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups", *reading, "--no-new-privs"]


def _files(project: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in project.rglob("*"))


def _run(command: list[str], project: Path, commands: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=project, env=_variables(commands, environment), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stdout}\n{done.stderr}")


def _variables(commands: Path, environment: dict[str, str]) -> dict[str, str]:
    """All variables of a container: no HOME."""
    return {"PATH": f"{commands}:/usr/bin:/bin", **environment}


@contextmanager
def _running(command: list[str], project: Path, commands: Path, environment: dict[str, str]) -> Iterator[None]:
    log = project.with_name(f"{command[-1].replace(':', '-')}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=project, env=_variables(commands, environment), stdout=output, stderr=output
        )
    try:
        yield
        if process.poll() is not None:
            raise SystemExit(f"{shlex.join(command)} ended by itself")
    except BaseException:
        print(log.read_text(encoding="utf-8", errors="replace"))
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit(f"{shlex.join(command)} did not end within a minute of SIGTERM") from None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _until_completed(address: str) -> Any:
    """Start a workflow as soon as the web server answers, and wait until its run is completed."""
    deadline = time.monotonic() + SECONDS
    run_id, found = None, None
    while time.monotonic() < deadline:
        try:
            if run_id is None:
                run_id = _request(f"{address}/guests/ada", b"")["run_id"]
            found = _request(f"{address}/durable/api/runs/{run_id}")
        except OSError as error:
            found = {"status": str(error)}
        if found["status"] == "completed":
            return found
        time.sleep(0.2)
    raise SystemExit(f"the workflow did not complete within {SECONDS} seconds: {found}")


def _request(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body)  # noqa: S310 - our own server's
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response)
