"""`python -m fastapi_durable schema`."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastapi_durable.__main__ import main
from fastapi_durable.schema import snippet

_DATASOURCE = 'datasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n'


def test_it_prints_the_snippet() -> None:
    """The output can be appended to a schema.prisma as it is."""
    command = [sys.executable, "-m", "fastapi_durable", "schema", "--provider", "postgresql"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == snippet("postgresql")


def test_the_check_of_a_complete_schema_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and a sentence."""
    path = tmp_path / "schema.prisma"
    path.write_text(_DATASOURCE + snippet("postgresql"), encoding="utf-8")
    assert main(["schema", "--check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} has everything that fastapi_durable needs\n"


def test_the_check_takes_the_provider_from_the_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SQLite's models in a PostgreSQL schema lack what PostgreSQL needs; the exit code says so to a build."""
    path = tmp_path / "schema.prisma"
    path.write_text(_DATASOURCE + snippet("sqlite"), encoding="utf-8")
    assert main(["schema", "--check", str(path)]) == 1
    assert "DurableBufferedSignal.id is Int; it must be BigInt" in capsys.readouterr().out


def test_a_folder_of_schema_files_is_checked_as_one(tmp_path: Path) -> None:
    """Prisma reads a folder as one schema, and so does the check."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "durable.prisma").write_text(snippet("postgresql"), encoding="utf-8")
    (tmp_path / "base.prisma").write_text(_DATASOURCE, encoding="utf-8")
    assert main(["schema", "--check", str(tmp_path)]) == 0


@pytest.mark.parametrize("text", ["model A {\n  id Int\n", "what is this", "model A {\n  id Int @default(now(\n}\n"])
def test_a_file_that_is_no_schema_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Exit code 2: nothing was compared."""
    path = tmp_path / "schema.prisma"
    path.write_text(text, encoding="utf-8")
    assert main(["schema", "--check", str(path)]) == 2
    assert f"cannot read {path}: " in capsys.readouterr().err


def test_a_missing_file_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with the path."""
    assert main(["schema", "--check", str(tmp_path / "nowhere.prisma")]) == 2
    assert "nowhere.prisma" in capsys.readouterr().err
