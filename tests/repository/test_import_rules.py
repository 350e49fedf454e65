"""The layers of the house hold, and the walk that says so sees every kind of arrow upward."""

from pathlib import Path

import pytest

from tests.repository.import_rules import violations


def _write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_no_import_in_the_repository_points_upward() -> None:
    """Imports point down the list of layers only."""
    assert violations() == []


@pytest.mark.parametrize(
    ("path", "text", "finding"),
    [
        (
            "fastapi_durable/model.py",
            "def f():\n    from fastapi_durable.engine import turns\n",
            "fastapi_durable/model.py:2: layer 1 (fastapi_durable.model) imports layer 4 (fastapi_durable.engine)",
        ),
        (
            "fastapi_durable/store/base.py",
            "from . import memory\n",
            (
                "fastapi_durable/store/base.py:1: layer 2 (fastapi_durable.store.base)"
                " imports layer 3 (fastapi_durable.store.memory)"
            ),
        ),
        (
            "fastapi_durable/service.py",
            "from fastapi_durable import DurableModule\n",
            "fastapi_durable/service.py:1: layer 5 (fastapi_durable.service) imports layer 7 (fastapi_durable)",
        ),
        (
            "fastapi_durable/engine/turns/turn.py",
            "import fastapi\n",
            "fastapi_durable/engine/turns/turn.py:1: layer 4 must not import fastapi",
        ),
        (
            "fastapi_durable/engine/turns/turn.py",
            "from fastapi_durable.engine.primitives.step import run_step\n",
            (
                "fastapi_durable/engine/turns/turn.py:1: fastapi_durable.engine.turns.turn imports"
                " fastapi_durable.engine.primitives.step, from a higher floor of the engine"
            ),
        ),
        (
            "fastapi_durable/store/prisma/store.py",
            "import prisma_inprocess\n",
            "fastapi_durable/store/prisma/store.py:1: fastapi_durable must not know prisma_inprocess",
        ),
        (
            "prisma_inprocess/client.py",
            "import fastapi_durable\n",
            "prisma_inprocess/client.py:1: prisma_inprocess must not know fastapi_durable",
        ),
        (
            "example_app/main.py",
            "from fastapi_durable.engine.turns.turn import Turn\n",
            "example_app/main.py:1: example_app imports fastapi_durable.engine.turns.turn, which is not public",
        ),
        (
            "fastapi_durable/surprise.py",
            "",
            "fastapi_durable/surprise.py: fastapi_durable.surprise is in no layer: give it one in import_rules.py",
        ),
        (
            "prisma_inprocess/utils.py",
            "",
            "prisma_inprocess/utils.py: 'utils' names no idea: say what is in the module",
        ),
    ],
)
def test_every_kind_of_wrong_import_is_found(tmp_path: Path, path: str, text: str, finding: str) -> None:
    """A wrong import is named with its file and line."""
    _write(tmp_path, "fastapi_durable/store/memory/__init__.py", "")
    _write(tmp_path, "fastapi_durable/engine/primitives/step.py", "")
    _write(tmp_path, path, text)
    assert violations(tmp_path) == [finding]


def test_downward_imports_pass(tmp_path: Path) -> None:
    """The module that wires everything may know everything below it."""
    _write(
        tmp_path,
        "fastapi_durable/module.py",
        "import fastapi\nfrom fastapi_durable.engine import turns\nfrom fastapi_durable.store import memory\n",
    )
    _write(tmp_path, "example_app/main.py", "from fastapi_durable import DurableModule\n")
    assert violations(tmp_path) == []
