"""Options and the environment: which wins, what is refused, and in which words."""

import re
import traceback
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fastapi_durable import (
    Adaptive,
    DurableModule,
    DurableOptions,
    DurableSettings,
    InProcessTransport,
    MemoryStateStore,
    Role,
)
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.errors import ConfigurationError


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        DurableOptions(**{"store": MemoryStateStore(), **options}).resolve()
    return str(caught.value)


def test_without_options_and_environment_the_defaults_hold() -> None:
    resolved = DurableOptions(store=MemoryStateStore()).resolve()
    assert resolved.role is Role.ALL
    config = resolved.config
    assert config == EngineConfig(instance_id=config.instance_id)
    assert isinstance(resolved.transport, InProcessTransport)


def test_the_environment_sets_what_options_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ROLE": "api",
        "NAMESPACE": "shop",
        "INSTANCE_ID": "pod-7",
        "LEASE": "45s",
        "POLL_INTERVAL": "250ms",
        "CONCURRENCY": "4",
        "MAX_RECOVERY_ATTEMPTS": "3",
        "SHUTDOWN_TIMEOUT": "1 min",
        "STARTUP_TIMEOUT": "3s",
        "SHOW_RUNNING_AFTER": "0s",
        "INLINE_RETRY_BELOW": "5s",
        "BLOCKED_POLL_INTERVAL": "1 min",
        "TRANSACTION_TIMEOUT": "20s",
    }.items():
        monkeypatch.setenv(f"DURABLE_{name}", value)
    resolved = DurableOptions(store=MemoryStateStore()).resolve()
    assert resolved.role is Role.API
    assert resolved.startup_timeout == 3
    assert resolved.config == EngineConfig(
        namespace="shop",
        instance_id="pod-7",
        lease=timedelta(seconds=45),
        poll_interval=timedelta(milliseconds=250),
        concurrency=4,
        max_recovery_attempts=3,
        shutdown_timeout=timedelta(minutes=1),
        show_running_after=timedelta(0),
        inline_retry_below=timedelta(seconds=5),
        blocked_poll_interval=timedelta(minutes=1),
        transaction_timeout=timedelta(seconds=20),
    )


def test_every_engine_setting_can_be_set_from_the_environment_and_as_an_option() -> None:
    names = {field.name for field in fields(EngineConfig)}
    assert names <= set(DurableSettings.model_fields)
    assert set(DurableSettings.model_fields) <= {field.name for field in fields(DurableOptions)}


def test_a_range_of_the_environment_is_an_adaptive_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_CONCURRENCY", "8-128")
    assert DurableOptions(store=MemoryStateStore()).resolve().config.concurrency == Adaptive(least=8, most=128)
    given = Adaptive(least=1, most=2, longest_lag="20ms")
    assert DurableOptions(store=MemoryStateStore(), concurrency=given).resolve().config.concurrency is given


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_LEASE", "45s")
    monkeypatch.setenv("DURABLE_ROLE", "api")
    resolved = DurableOptions(store=MemoryStateStore(), lease="5s", role="worker").resolve()
    assert resolved.config.lease == timedelta(seconds=5)
    assert resolved.role is Role.WORKER


def test_given_settings_are_used_instead_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DurableSettings(concurrency=2)
    monkeypatch.setenv("DURABLE_CONCURRENCY", "64")
    assert DurableOptions(store=MemoryStateStore(), settings=settings).resolve().config.concurrency == 2


def test_settings_do_not_change_and_ignore_unknown_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_SOMETHING_ELSE", "1")
    settings = DurableSettings()
    with pytest.raises(ValidationError):
        settings.concurrency = 2


def test_no_dotenv_file_is_read_unless_the_application_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DURABLE_CONCURRENCY=2\n")
    monkeypatch.chdir(tmp_path)
    assert DurableSettings().concurrency == 32
    assert DurableSettings(_env_file=".env").concurrency == 2  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("lease", "30", "a duration is a timedelta or a string such as '200ms', '30s' or '3 days', not '30'"),
        ("lease", 30, "a duration is a timedelta or a string"),
        ("lease", timedelta(0), "greater than"),
        ("poll_interval", "0s", "greater than"),
        ("shutdown_timeout", timedelta(seconds=-1), "a duration must not be negative"),
        ("concurrency", 0, "1 to 1000000, or a range such as '4-64'"),
        ("concurrency", True, "a concurrency is a number of runs"),
        ("concurrency", "64-4", "least=64 and most=4 are no range"),
        ("max_recovery_attempts", 0, "greater than or equal to 1"),
        ("role", "boss", "'api', 'worker' or 'all'"),
        ("namespace", "", "at least 1 character"),
        ("namespace", " shop", "match pattern"),
    ],
)
def test_a_wrong_option_is_refused_by_name_and_with_a_reason(option: str, value: Any, said: str) -> None:
    message = refusal(**{option: value})
    assert message.startswith(f"option {option}={value!r} is refused: ")
    assert said in message


def test_a_wrong_variable_is_refused_by_its_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_LEASE", "30")
    monkeypatch.setenv("DURABLE_CONCURRENCY", "many")
    message = refusal()
    assert "DURABLE_LEASE='30': a duration is a timedelta" in message
    assert "DURABLE_CONCURRENCY='many'" in message


@pytest.mark.parametrize("key", ["hush", "", b"hush\xff", "hush" * 7])
def test_a_key_that_is_no_key_is_refused_and_nowhere_shown(key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the message nor by what caused it: both end in a log. An empty key would sign for everybody."""
    with pytest.raises(ConfigurationError) as caught:
        DurableOptions(store=MemoryStateStore(), webhook_secret=key)
    said = "".join(traceback.format_exception(caught.value))
    assert "option webhook_secret is refused: " in said
    assert "hush" not in said
    if isinstance(key, str):
        monkeypatch.setenv("DURABLE_WEBHOOK_SECRET", key)
        with pytest.raises(ConfigurationError) as caught:
            DurableOptions(store=MemoryStateStore()).resolve()
        said = "".join(traceback.format_exception(caught.value))
        assert "DURABLE_WEBHOOK_SECRET: a key has 32 characters or more" in said
        assert "hush" not in said


def test_a_key_is_not_in_the_text_of_the_options() -> None:
    options = DurableOptions(store=MemoryStateStore(), webhook_secret="hush" * 8)
    assert "hush" not in repr(options) + repr(options.resolve())
    assert options.resolve().webhook_secret is not None


def test_ready_options_are_checked_when_the_module_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_ROLE", "boss")
    options = DurableOptions(store=MemoryStateStore())
    with pytest.raises(ConfigurationError, match="DURABLE_ROLE"):
        DurableModule.for_root(options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"store": None}, "option store is None, which lacks"),
        ({"store": object()}, "wrap your client: store=PrismaStateStore(client)"),
        ({"store": MemoryStateStore}, "option store is the class MemoryStateStore itself: pass an instance"),
        ({"transport": MemoryStateStore()}, "option transport is of type MemoryStateStore, which lacks"),
        ({"clock": 12}, "option clock is of type int"),
        ({"settings": {"lease": "30s"}}, "option settings is a DurableSettings, not of type dict"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused_with_the_mend(given: dict[str, Any], said: str) -> None:
    assert said in refusal(**given)


def test_a_control_plane_has_its_tenant_as_namespace() -> None:
    options = DurableOptions(store=MemoryStateStore(), topology="control-plane", tenant="acme", namespace="acme")
    assert options.resolve().config.namespace == "acme"
    options = DurableOptions(store=MemoryStateStore(), topology="control-plane", tenant="acme")
    assert options.resolve().config.namespace == "acme"
    options = DurableOptions(store=MemoryStateStore(), topology="control-plane")
    assert options.resolve().config.namespace is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topology": "control-plane", "tenant": "a", "namespace": "b"}, "contradict each other"),
        ({"topology": "tenant", "tenant": "a"}, "a tenant is store-less by definition"),
        ({"tenant": "a"}, "needs topology='control-plane'"),
        ({"topology": "star"}, "topology='star' is unknown"),
    ],
)
def test_a_topology_that_contradicts_itself_is_refused(given: dict[str, Any], said: str) -> None:
    assert said in refusal(**given)


def test_the_document_lists_every_setting_with_its_default() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "application.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `DURABLE_(\w+)` \|([^|]*)\|", document, re.MULTILINE)
    documented = {name.lower(): default.strip().strip("`") for name, default in rows}
    assert documented.keys() == DurableSettings.model_fields.keys()
    for name, text in documented.items():
        default = DurableSettings.model_fields[name].default
        if name != "instance_id":
            assert (parse_duration(text) if isinstance(default, timedelta) else text) == (
                default if isinstance(default, timedelta) else str(default or "")
            )


def test_the_document_names_every_option_that_is_no_setting() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    _, _, section = document.partition("What is given to `DurableOptions` alone")
    table, _, _ = section.partition("\n#")
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {each.name for each in fields(DurableOptions)} - DurableSettings.model_fields.keys()
