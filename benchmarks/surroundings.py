"""What a measurement stands on: environments, a PostgreSQL server that keeps what it commits, a quiet machine."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.plan import SystemPlan
from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer, local_postgres

REPOSITORY: Final = Path(__file__).resolve().parents[1]
_ENVIRONMENTS: Final = REPOSITORY / ".make" / "benchmarks"
_TEMPLATE: Final = "benchmark_template"


def python_of(environment: str | None) -> Path:
    """The interpreter of a system's environment, which is made when it is first asked for.

    Raises:
        RuntimeError: its packages cannot be installed; the message is the installer's.
    """
    if environment is None:
        return Path(sys.executable)
    root = _ENVIRONMENTS / environment
    requirements = Path(__file__).parent / "requirements" / f"{environment}.txt"
    installed = root / ".installed"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        venv.create(root, with_pip=True, clear=True)
        command: list[str | Path] = [
            root / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        done = subprocess.run([*command, "-r", requirements], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        installed.write_text(requirements.read_text())
    return root / "bin" / "python"


@contextmanager
def server() -> Iterator[LocalPostgresServer]:
    """A PostgreSQL server that keeps what it commits, with a migrated database to copy."""
    with local_postgres(durable=True) as running:
        migrate(running.create_database(_TEMPLATE))
        yield running


def fresh_database(plan: SystemPlan, running: LocalPostgresServer, directory: Path, number: int) -> str:
    """The URL of an empty database for one system, with the tables that it wants."""
    name = f"bench_{plan.module}_{number}"
    if plan.database == "postgresql":
        url = running.create_database(name, template=_TEMPLATE if plan.module == "ours" else None)
    else:
        url = f"file:{directory / name}.db"
        if plan.module == "ours":
            migrate(url)
    if plan.set_up is not None:
        program, *arguments = plan.set_up
        command: list[str | Path] = [
            python_of(plan.environment).parent / program,
            *(word.format(url=url) for word in arguments),
        ]
        environment = {**os.environ, "PATH": f"{running.programs}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return url


def load() -> float:
    """Processes that want a core, per core, over the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)
