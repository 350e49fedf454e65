"""What the type checker accepts and rejects is part of the public face."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastapi_durable import DurableClient, SyncDurableClient, WorkflowContext, WorkflowService

REPOSITORY = Path(__file__).resolve().parents[2]
ACCEPTED, REJECTED = (REPOSITORY / "tests" / "typing" / name for name in ("accepted.py", "rejected.py"))


def test_right_code_is_accepted_and_each_mistake_is_found() -> None:
    """`rejected.py` ignores one error for each mistake; under --strict an ignore without an error is an error."""
    command = [sys.executable, "-m", "mypy", str(ACCEPTED), str(REJECTED)]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("receiver", "cls"),
    [
        ("ctx", WorkflowContext),
        ("workflows", WorkflowService),
        ("client", DurableClient),
        ("blocking", SyncDurableClient),
    ],
)
def test_each_method_has_its_result_asserted_and_a_mistake_found(receiver: str, cls: type) -> None:
    """A method that is new, and whose types nobody looked at, fails here."""
    public = {name for name, value in inspect.getmembers(cls, callable) if not name.startswith("_")}
    asserted = {
        name
        for node in ast.walk(ast.parse(ACCEPTED.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "assert_type"
        for name in called_on(receiver, node.args[0])
    }
    lines = REJECTED.read_text(encoding="utf-8").splitlines()
    mistakes = {
        name
        for statement in ast.walk(ast.parse(REJECTED.read_text(encoding="utf-8")))
        if isinstance(statement, ast.stmt) and "# type: ignore[" in lines[(statement.end_lineno or 1) - 1]
        for name in called_on(receiver, statement)
    }
    assert (public - asserted, public - mistakes) == (set(), set())


def called_on(receiver: str, node: ast.AST) -> Iterator[str]:
    """The methods of a name that are called in a piece of code."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if name == receiver:
                yield method
