"""What the type checker accepts and rejects is part of the public face."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_right_code_is_accepted_and_each_mistake_is_found() -> None:
    """`rejected.py` ignores one error for each mistake; under --strict an ignore without an error is an error."""
    command = [sys.executable, "-m", "mypy", "tests/typing/accepted.py", "tests/typing/rejected.py"]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
