"""Serialised WebAssembly modules: kept, replaced when damaged, done without where nothing can be written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from wasmtime import Module

from prisma_inprocess.wasm.module_cache import CACHE_DIR_VARIABLE, _is_own, load_module, new_engine

EMPTY_MODULE = b"\0asm\1\0\0\0"


@pytest.fixture
def wasm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(CACHE_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    file = tmp_path / "client" / "compiler.wasm"
    file.parent.mkdir()
    file.write_bytes(EMPTY_MODULE)
    return file


def serialised(folder: Path) -> list[Path]:
    return list(folder.rglob("*.cwasm"))


def test_a_module_is_serialised_beside_its_file_and_in_the_users_folder(wasm: Path, tmp_path: Path) -> None:
    load_module(new_engine(), wasm)
    assert len(serialised(wasm.parent)) == 1
    assert len(serialised(tmp_path / "home")) == 1


def test_the_users_folder_serves_a_new_place(wasm: Path, tmp_path: Path) -> None:
    load_module(new_engine(), wasm)
    content = serialised(tmp_path / "home")[0].read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / wasm.name).write_bytes(EMPTY_MODULE)
    load_module(new_engine(), elsewhere / wasm.name)
    assert serialised(elsewhere)[0].read_bytes() == content


def test_a_user_without_a_home_has_the_form_beside_the_file(wasm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    load_module(new_engine(), wasm)
    assert len(serialised(wasm.parent)) == 1


def test_another_module_of_the_same_name_has_its_own_serialised_form(wasm: Path) -> None:
    load_module(new_engine(), wasm)
    wasm.write_bytes(EMPTY_MODULE + b"\0\5\4name")
    load_module(new_engine(), wasm)
    assert len(serialised(wasm.parent)) == 2


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=["empty", "foreign", "cut"])
def test_a_damaged_serialised_module_is_replaced(wasm: Path, tmp_path: Path, damage: bytes | None) -> None:
    load_module(new_engine(), wasm)
    files = serialised(tmp_path)
    good = files[0].read_bytes()
    for file in files:
        file.write_bytes(good[:100] if damage is None else damage)
    load_module(new_engine(), wasm)
    assert all(file.read_bytes() == good for file in serialised(tmp_path))


def planted(folder: Path) -> None:
    """Put the machine code of another module in the place of every one: wasmtime runs it without another look."""
    engine = new_engine()
    code = bytes(Module(engine, '(module (memory (export "planted") 1))').serialize())
    for file in serialised(folder):
        mode = file.stat().st_mode
        file.write_bytes(code)
        file.chmod(mode)


def is_planted(module: Module) -> bool:
    return [each.name for each in module.exports] == ["planted"]


def test_what_this_user_alone_could_write_is_loaded(wasm: Path, tmp_path: Path) -> None:
    """The others of these tests would show nothing if it were not."""
    load_module(new_engine(), wasm)
    planted(tmp_path)
    assert is_planted(load_module(new_engine(), wasm))


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o707])
def test_a_folder_that_others_can_write_to_serves_nothing(
    wasm: Path, tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    load_module(new_engine(), wasm)
    planted(tmp_path)
    for file in serialised(tmp_path):
        file.parent.chmod(mode)
    assert not is_planted(load_module(new_engine(), wasm))
    assert f"chmod go-w {wasm.parent}" in caplog.text


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_can_write_to_is_not_loaded(wasm: Path, tmp_path: Path, mode: int) -> None:
    load_module(new_engine(), wasm)
    planted(tmp_path)
    for file in serialised(tmp_path):
        file.chmod(mode)
    assert not is_planted(load_module(new_engine(), wasm))
    # It was written anew, by this user alone.
    assert {file.stat().st_mode & 0o022 for file in serialised(tmp_path)} == {0}


def test_a_file_of_another_user_is_not_loaded(wasm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_module(new_engine(), wasm)
    planted(tmp_path)
    user = os.geteuid()
    if user == 0:
        for file in serialised(tmp_path):
            os.chown(file, 1234, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert not is_planted(load_module(new_engine(), wasm))


@pytest.mark.parametrize(("owner", "mode", "loaded"), [(0, 0o644, True), (0, 0o664, False), (7, 0o644, False)])
def test_what_root_has_written_is_trusted(owner: int, mode: int, loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of a container is built by root, and its process is another user's."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _is_own(os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, owner, 0, 0, 0, 0))) is loaded


def test_other_users_may_read_what_was_written(wasm: Path, tmp_path: Path) -> None:
    load_module(new_engine(), wasm)
    assert {stat.S_IMODE(file.stat().st_mode) for file in serialised(tmp_path)} == {0o644}


def test_a_link_is_not_followed(wasm: Path, tmp_path: Path) -> None:
    load_module(new_engine(), wasm)
    planted(tmp_path)
    for number, file in enumerate(serialised(tmp_path)):
        file.rename(tmp_path / f"other-{number}")
        file.symlink_to(tmp_path / f"other-{number}")
    assert not is_planted(load_module(new_engine(), wasm))


def test_a_module_loads_where_nothing_can_be_written(
    wasm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder would be")
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(blocked))
    load_module(new_engine(), wasm)
    assert serialised(tmp_path) == []
