"""What `import fastapi_durable` needs."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"asyncpg", "wasmtime", "prisma", "prisma_inprocess"}:
            raise ModuleNotFoundError(f"{name} is absent", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import fastapi_durable",
        "from fastapi_durable import PrismaStateStore",
        "import fastapi_durable.errors, fastapi_durable.events, fastapi_durable.transport, fastapi_durable.testing",
    ],
)
def test_the_library_is_imported_without_the_client(statement: str) -> None:
    """Who declares workflows, or has a store of another make, loads no driver and no WebAssembly runtime."""
    done = subprocess.run([sys.executable, "-c", WITHOUT + statement], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_console_is_imported_by_who_asks_for_it() -> None:
    """Building the models of its API takes long, and a worker has none."""
    loaded = (
        "import sys, fastapi_durable; print([name for name in sys.modules if name.startswith('fastapi_durable.web')])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert "fastapi_durable.web.login" in done.stdout
    assert "fastapi_durable.web.schemas" not in done.stdout
    assert "fastapi_durable.web.router" not in done.stdout
