"""Use the built wheels as a stranger would: `make check-wheel`.

A small FastAPI project (`tests/wheel_project`) is laid outside this repository with an empty environment, and goes the
way that the README describes, with the very commands and configuration that stand there, until a workflow completes.
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

REPOSITORY = Path(__file__).resolve().parents[1]
STATIC = (".js", ".css", ".svg", ".html")  # the console
PROJECTS = {"fastapi_durable": REPOSITORY, "prisma_inprocess": REPOSITORY / "prisma_inprocess"}


def main() -> None:
    """Go the whole way; the first thing that fails ends it."""
    with tempfile.TemporaryDirectory(prefix="durable-wheel-") as directory:
        project = Path(directory) / "project"
        shutil.copytree(REPOSITORY / "tests" / "wheel_project", project)
        wheels = [_build(source, Path(directory) / package) for package, source in PROJECTS.items()]
        for wheel in wheels:
            _check_contents(wheel)
        python = _install(wheels, project)
        _prepare(project, python)
        with _served(project, python) as url:
            _check_workflow(url)
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


def _install(wheels: list[Path], project: Path) -> Path:
    _say("install them into an empty environment")
    environment = project / ".venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    # the versions are the locked ones, so that what fails here is ours
    pins = re.findall(r"^(\S+==[^\s;]+)", (REPOSITORY / "requirements" / "dev.txt").read_text("utf-8"), re.MULTILINE)
    constraints = project / "constraints.txt"
    constraints.write_text("\n".join(pins), encoding="utf-8")
    _run(
        [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), *map(str, wheels)],
        cwd=project,
    )
    _run([str(environment / "bin" / "fastapi-durable"), "--help"], cwd=project)
    return python


def _prepare(project: Path, python: Path) -> None:
    _say("print the models and check the schema")
    schema = project / "schema.prisma"
    check = [str(python), "-m", "fastapi_durable", "schema", "--check", str(schema)]
    if subprocess.run(check, cwd=project, capture_output=True, check=False).returncode != 1:
        raise SystemExit("the check accepts a schema without the durable models")
    snippet = _run([str(python), "-m", "fastapi_durable", "schema"], cwd=project)
    schema.write_text(schema.read_text(encoding="utf-8") + snippet, encoding="utf-8")
    _run(check, cwd=project)

    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (npm,) = re.findall(r"^ *(npm install (?:.*\\\n)*.*)$", readme, re.MULTILINE)
    _say("get the npm packages, with the README's command")
    _run(shlex.split(npm.replace("\\\n", " ")), cwd=project)
    _say("generate the client")
    _run([str(python), "-m", "prisma_inprocess", "generate", "--schema", "schema.prisma"], cwd=project)

    _say("create the tables, with the README's commands, and without Node.js on PATH")
    pattern = r"^ *(export DATABASE_URL=(?:.*\n)*? *python -m prisma_inprocess migrate deploy)$"
    (commands,) = re.findall(pattern, readme, re.MULTILINE)
    _run(["/bin/sh", "-e", "-c", commands], cwd=project, PATH=str(python.parent))


@contextmanager
def _served(project: Path, python: Path) -> Iterator[str]:
    _say("run the application, without Node.js on PATH")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shutil.rmtree(project / "node_modules")
    log = project / "server.log"
    environment = {**_environment(), "PATH": str(python.parent)}
    command = [str(python), "-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=output, stderr=output)
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


def _check_workflow(url: str) -> None:
    _say("start a workflow and read its result")
    _expect(_request(f"{url}/guests", {"name": "Ada"}), {"run_id": "greet:Ada"})
    _expect(_request(f"{url}/guests/Ada"), {"greeting": "Good day, Ada"})
    _expect(_request(f"{url}/greetings"), ["Good day, Ada"])


def _request(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the address is our own server's
        return json.load(response)


def _expect(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SystemExit(f"expected {wanted}, got {found}")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "DATABASE_URL": "file:./app.db"}


def _run(command: list[str], *, cwd: Path, **environment: str) -> str:
    variables = {**_environment(), **environment}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _say(what: str) -> None:
    print(f"- {what}", flush=True)


if __name__ == "__main__":
    main()
