"""Use the built wheels as a stranger would: `make check-wheel`.

Outside this repository, in an empty environment, with neither Node.js nor npm on PATH: the README's commands make a new
project on each database, whose workflow waits while the project is migrated a second time, and completes. Then they
complete a project of somebody else (`tests/wheel_project`), which has models of its own. At last the commands of a
project's Dockerfile and compose.yaml are carried out, without Docker: `container_commands`.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import container_commands
from tests.support.postgres import local_postgres

REPOSITORY = Path(__file__).resolve().parents[1]
STATIC = (".js", ".css", ".svg", ".html")  # the console
PROJECTS = {"fastapi_durable": REPOSITORY, "prisma_inprocess": REPOSITORY / "prisma_inprocess"}


def main() -> None:
    """Go the whole way; the first thing that fails ends it."""
    with tempfile.TemporaryDirectory(prefix="durable-wheel-") as directory, local_postgres() as server:
        folder = Path(directory)
        wheels = [_build(source, folder / package) for package, source in PROJECTS.items()]
        for wheel in wheels:
            _check_contents(wheel)
        _check_client_alone(folder / "client", wheels[-1])
        commands = _install(wheels, folder / "environment")
        _check_new_project(folder / "on-sqlite", commands, "sqlite", "file:./app.db")
        _check_new_project(folder / "on-postgresql", commands, "postgresql", server.create_database("app"))
        _check_own_project(folder / "own", commands)
        _say("carry out what the files for containers say, as a user who can write nothing")
        container_commands.check(folder / "containers", commands, server.create_database("containers"))
    print("WHEEL OK")


def _build(source: Path, directory: Path) -> Path:
    _say(f"build the wheel of {directory.name}")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(source)]
    _run(command, cwd=directory.parent)
    (wheel,) = directory.glob("*.whl")
    return wheel


def _check_contents(wheel: Path) -> None:
    _say(f"look into {wheel.name}")
    package = wheel.parent.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    if f"{package}/py.typed" not in names:
        raise SystemExit(f"{package}/py.typed is not in the wheel")
    strange = [name for name in names if not _belongs(name, package)]
    if strange:
        raise SystemExit(f"these have no business in the wheel: {', '.join(strange)}")


def _belongs(name: str, package: str) -> bool:
    if name.startswith(f"{package}/wasm_files/"):
        return package == "prisma_inprocess" and name.endswith((".wasm", "/PRISMA_LICENSE"))
    code = name.startswith(f"{package}/") and name.endswith((".py", ".py.txt", "/py.typed", *STATIC))
    return code or name.startswith(f"{package}-")


def _install(wheels: list[Path], environment: Path) -> Path:
    """Return the folder with the commands of a new environment."""
    _say(f"install {' and '.join(wheel.parent.name for wheel in wheels)} into an empty environment")
    venv.create(environment, with_pip=True)
    # the versions are the locked ones, so that what fails here is ours
    pins = re.findall(r"^(\S+==[^\s;]+)", (REPOSITORY / "requirements" / "dev.txt").read_text("utf-8"), re.MULTILINE)
    constraints = environment / "constraints.txt"
    constraints.write_text("\n".join(pins), encoding="utf-8")
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    _run([*pip, *map(str, wheels)], cwd=environment)
    return environment / "bin"


def _check_client_alone(project: Path, wheel: Path) -> None:
    project.mkdir()
    commands = _install([wheel], project / "environment")
    _say("go the way of the client's own README")
    readme = (PROJECTS["prisma_inprocess"] / "README.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(prisma|python)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL))
    (project / "schema.prisma").write_text(blocks["prisma"], encoding="utf-8")
    (project / "notes.py").write_text(blocks["python"], encoding="utf-8")
    for variables, command in re.findall(r"^    (?:(DATABASE_URL=\S+) )?(prisma-inprocess .*)$", readme, re.MULTILINE):
        url = variables.partition("=")[2] or "file:./nowhere.db"
        _run(shlex.split(command), cwd=project, commands=commands, DATABASE_URL=url)
    _expect(_run(["python", "notes.py"], cwd=project, commands=commands), "1 hello\n")


def _check_new_project(project: Path, commands: Path, database: str, url: str) -> None:
    _say(f"make a new project on {database}, with the README's commands")
    project.mkdir()
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^    (fastapi-durable init && fastapi-durable migrate dev .*)$", readme, re.MULTILINE)
    for command in line.split(" && "):
        words = shlex.split(command) + (["--database", database] if command.endswith(" init") else [])
        _run(words, cwd=project, commands=commands, DATABASE_URL=url)
    with _served(project, commands, url) as address:
        _say("start a workflow, and stop the server while it waits")
        run_id = _request(f"{address}/guests/ada", b"")["run_id"]
        _wait_until(f"{address}/durable/api/runs/{run_id}", "suspended")
    _say("add a column to a table of the application's own, and migrate again")
    schema = project / "schema.prisma"
    for name, fields in (("guests", ""), ("mood", "  mood String?\n")):
        text = re.sub(r"model Guest \{.*?\}\n", "", schema.read_text(encoding="utf-8"), flags=re.DOTALL)
        schema.write_text(f"{text}model Guest {{\n  id Int @id\n{fields}}}\n", encoding="utf-8")
        _run(
            shlex.split(f"fastapi-durable migrate dev --name {name}"), cwd=project, commands=commands, DATABASE_URL=url
        )
    _expect(
        sorted(path.name.partition("_")[2] for path in (project / "migrations").iterdir() if path.is_dir()),
        ["first", "guests", "mood"],
    )
    with _served(project, commands, url) as address:
        _say("the run that waited completes")
        run = _wait_until(f"{address}/durable/api/runs/{run_id}", "completed")
        _expect(run["output"], "Good day, ada")


def _check_own_project(project: Path, commands: Path) -> None:
    _say("complete a project of somebody else")
    shutil.copytree(REPOSITORY / "tests" / "wheel_project", project)
    before = (project / "main.py").read_text(encoding="utf-8")
    url = "file:./own.db"
    schema = ["fastapi-durable", "schema", "--check", "schema.prisma"]
    if (
        subprocess.run(schema, cwd=project, env=_environment(commands), capture_output=True, check=False).returncode
        != 1
    ):
        raise SystemExit("the check accepts a schema without the durable models")
    _run(["fastapi-durable", "init"], cwd=project, commands=commands)
    _expect((project / "main.py").read_text(encoding="utf-8"), before)
    _run(schema, cwd=project, commands=commands)
    _run(["fastapi-durable", "migrate", "dev", "--name", "durable"], cwd=project, commands=commands, DATABASE_URL=url)
    with _served(project, commands, url) as address:
        _say("start a workflow and read its result")
        _expect(_request(f"{address}/guests", {"name": "Ada"}), {"run_id": "greet:Ada"})
        _expect(_request(f"{address}/guests/Ada"), {"greeting": "Good day, Ada"})
        _expect(_request(f"{address}/greetings"), ["Good day, Ada"])


@contextmanager
def _served(project: Path, commands: Path, url: str) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = project / "server.log"
    command = [str(commands / "fastapi"), "dev", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=project, env={**_environment(commands), "DATABASE_URL": url}, stdout=output, stderr=output
        )
    try:
        _wait_for(server, port)
        yield f"http://127.0.0.1:{port}"
    except BaseException:
        print(log.read_text(encoding="utf-8", errors="replace"))
        raise
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            raise SystemExit("the server did not end within 20 seconds of SIGTERM") from None


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the application did not start")


def _wait_until(address: str, status: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = _request(address)
        if found["status"] == status:
            return found
        time.sleep(0.1)
    raise SystemExit(f"{address} is not {status} after a minute: {found}")


def _request(url: str, body: Any = None) -> Any:
    """POST if there is a body, else GET."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the address is our own server's
        return json.load(response)


def _expect(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SystemExit(f"expected {wanted}, got {found}")


def _environment(commands: Path | None = None) -> dict[str, str]:
    """The variables of a command; with the environment's commands on PATH, and none beside them."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "DURABLE"))
    }
    return kept if commands is None else {**kept, "PATH": str(commands)}


def _run(command: list[str], *, cwd: Path, commands: Path | None = None, **environment: str) -> str:
    if commands is not None:
        command = [str(commands / command[0]), *command[1:]]
    variables = {**_environment(commands), **environment}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _say(what: str) -> None:
    print(f"- {what}", flush=True)


if __name__ == "__main__":
    main()
