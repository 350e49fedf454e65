"""Options and the environment: which wins, what is refused, and in which words."""

import traceback
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
from fastapi_durable.app.settings import misspelt_variables
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.model.duration import LONGEST
from fastapi_durable.model.errors import ConfigurationError, DefinitionError

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"


def options(**given: Any) -> DurableOptions:
    return DurableOptions(**{"store": MemoryStateStore(), **given})


def refusal(**given: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        options(**given)
    return str(caught.value)


def test_without_options_and_environment_the_defaults_hold() -> None:
    found = options()
    assert found.role is Role.ALL
    assert isinstance(found.transport, InProcessTransport)
    assert {name: getattr(found, name) for name in EngineConfig.model_fields} == dict(
        EngineConfig(instance_id=found.instance_id)
    )
    assert (found.lease, found.concurrency, found.namespace) == (timedelta(seconds=30), 32, None)
    assert options().instance_id != found.instance_id


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
        "THREAD_GRACE": "2 min",
        "STARTUP_TIMEOUT": "3s",
        "SHOW_RUNNING_AFTER": "0s",
        "INLINE_RETRY_BELOW": "5s",
        "BLOCKED_POLL_INTERVAL": "1 min",
        "TRANSACTION_TIMEOUT": "20s",
        "EVENT_TTL": "1 day",
        "STREAM_MAX_ITEMS": "500",
        "STREAM_MAX_ITEM_SIZE": "1000",
        "MAX_DELAYED_STARTS": "50",
        "NO_WORKER_AFTER": "3s",
        "WEBHOOK_URL": "https://shop.example/webhooks",
        "WEBHOOK_SECRET": "k" * 32,
    }.items():
        monkeypatch.setenv(f"DURABLE_{name}", value)
    found = options()
    assert {name: getattr(found, name) for name in DurableSettings.model_fields} == {
        "role": Role.API,
        "namespace": "shop",
        "instance_id": "pod-7",
        "lease": timedelta(seconds=45),
        "poll_interval": timedelta(milliseconds=250),
        "concurrency": 4,
        "max_recovery_attempts": 3,
        "shutdown_timeout": timedelta(minutes=1),
        "thread_grace": timedelta(minutes=2),
        "startup_timeout": timedelta(seconds=3),
        "show_running_after": timedelta(0),
        "inline_retry_below": timedelta(seconds=5),
        "blocked_poll_interval": timedelta(minutes=1),
        "transaction_timeout": timedelta(seconds=20),
        "event_ttl": timedelta(days=1),
        "stream_max_items": 500,
        "stream_max_item_size": 1000,
        "max_delayed_starts": 50,
        "no_worker_after": timedelta(seconds=3),
        "webhook_url": "https://shop.example/webhooks",
        "webhook_secret": found.webhook_secret,
    }
    assert found.webhook_secret is not None
    assert found.webhook_secret.get_secret_value() == "k" * 32


def test_the_environment_sets_settings_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is code cannot come from a variable, whatever its name."""
    for name in DurableOptions.model_fields.keys() - DurableSettings.model_fields.keys():
        monkeypatch.setenv(f"DURABLE_{name.upper()}", "x")
    assert options().queues == ()


def test_a_range_of_the_environment_is_an_adaptive_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_CONCURRENCY", "8-128")
    assert options().concurrency == Adaptive(least=8, most=128)
    given = Adaptive(least=1, most=2, longest_lag="20ms")
    assert options(concurrency=given).concurrency is given


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_LEASE", "45s")
    monkeypatch.setenv("DURABLE_ROLE", "api")
    found = options(lease="5s", role="worker")
    assert found.lease == timedelta(seconds=5)
    assert found.role is Role.WORKER


def test_an_option_that_is_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_NAMESPACE", "shop")
    assert options(namespace=None, lease=None).namespace == "shop"
    assert DurableSettings(namespace=None, instance_id=None).instance_id
    assert EngineConfig(lease=None).lease == timedelta(seconds=30)


def test_no_worker_after_may_be_never(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options(no_worker_after="never").no_worker_after == LONGEST
    monkeypatch.setenv("DURABLE_NO_WORKER_AFTER", "never")
    found = options()
    assert found.no_worker_after == LONGEST
    assert options(settings=DurableSettings()).no_worker_after == LONGEST
    assert found.of_one_start(None).no_worker_after == LONGEST
    for value in ("0s", "2 days", "forever", 3):
        assert refusal(no_worker_after=value).startswith(
            "no_worker_after must be 'never', or a timedelta or a string such as '30s', from 1ms to 1 day, got"
        )


def test_given_settings_are_used_instead_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, named = DurableSettings(concurrency=2), DurableSettings(instance_id="pod-7")
    for name, value in {"CONCURRENCY": "64", "NAMESPACE": "shop", "LEASE": "no duration"}.items():
        monkeypatch.setenv(f"DURABLE_{name}", value)
    found = options(settings=settings, poll_interval="3s")
    assert (found.concurrency, found.namespace) == (2, None)
    assert options(settings=named).of_one_start(None).instance_id == "pod-7"
    assert found.poll_interval == timedelta(seconds=3)


def test_settings_do_not_change_and_ignore_unknown_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_SOMETHING_ELSE", "1")
    for settings in (DurableSettings(), options()):
        with pytest.raises(ValidationError):
            settings.concurrency = 2


def test_no_dotenv_file_is_read_unless_the_application_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DURABLE_CONCURRENCY=2\n")
    monkeypatch.chdir(tmp_path)
    assert DurableSettings().concurrency == 32
    assert options().concurrency == 32
    assert DurableSettings(_env_file=".env").concurrency == 2  # type: ignore[call-arg]


DURATION = "must be a timedelta or a string such as '30s', from"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("lease", "30", f"{DURATION} 10ms to 1 day, got '30'"),
        ("lease", 30, f"{DURATION} 10ms to 1 day, got 30"),
        ("lease", timedelta(0), f"{DURATION} 10ms to 1 day, got datetime.timedelta(0)"),
        ("lease", timedelta.max, f"{DURATION} 10ms to 1 day, got {timedelta.max!r}"),
        ("lease", "999999999999 days", f"{DURATION} 10ms to 1 day, got '999999999999 days'"),
        ("poll_interval", "0s", f"{DURATION} 1ms to 1 day, got '0s'"),
        ("shutdown_timeout", timedelta(seconds=-1), f"{DURATION} 0s to 1 day, got datetime.timedelta(days=-1, "),
        ("event_ttl", "101 years", f"{DURATION} 1ms to 36525 days, got '101 years'"),
        ("event_ttl", timedelta.max, f"{DURATION} 1ms to 36525 days, got {timedelta.max!r}"),
        ("concurrency", 0, "must be a number of runs from 1 to 1000000, or a range such as '4-64', got 0"),
        ("concurrency", True, "must be a number of runs from 1 to 1000000, or a range such as '4-64', got True"),
        ("concurrency", 1.5, "must be a number of runs from 1 to 1000000, or a range such as '4-64', got 1.5"),
        ("concurrency", "64-4", "must satisfy 1 <= least <= most <= 1000000, got least=64, most=4"),
        ("max_recovery_attempts", 0, "must be a whole number from 1 to 1000000, got 0"),
        ("max_recovery_attempts", 2**31, "must be a whole number from 1 to 1000000, got 2147483648"),
        ("max_recovery_attempts", 1.5, "must be a whole number from 1 to 1000000, got 1.5"),
        ("role", "boss", "must be 'api', 'worker' or 'all', got 'boss'"),
        ("namespace", "", "must be printable text of 1-200 bytes in UTF-8 without a space at either end, got ''"),
        (
            "namespace",
            " shop",
            "must be printable text of 1-200 bytes in UTF-8 without a space at either end, got ' shop'",
        ),
        (
            "namespace",
            "a\0b",
            r"must be printable text of 1-200 bytes in UTF-8 without a space at either end, got 'a\x00b'",
        ),
        (
            "instance_id",
            "\ud800",
            r"must be printable text of 1-200 bytes in UTF-8 without a space at either end, got '\ud800'",
        ),
        ("webhook_url", "ftp://x", "must be an http or https URL of at most 2000 characters, or a function from a "),
        ("scope_reads", "perhaps", "must be a valid boolean, unable to interpret input, got 'perhaps'"),
        ("tenant", 7, "must be a valid string, got 7"),
    ],
)
def test_a_wrong_option_is_refused_by_name_with_the_rule_and_the_value(option: str, value: Any, said: str) -> None:
    more = {"topology": "control-plane"} if option == "tenant" else {}
    assert f"{option} {said}" in refusal(**{option: value}, **more)


def test_bounds_that_contradict_each_other_are_refused_when_they_are_written_too() -> None:
    with pytest.raises(
        DefinitionError, match=r"^concurrency must satisfy 1 <= least <= most <= 1000000, got least=8, "
    ):
        Adaptive(least=8, most=4)
    with pytest.raises(DefinitionError, match=r"^longest_lag must be a positive duration, got '0s'$"):
        Adaptive(longest_lag="0s")


def test_every_duration_and_number_has_a_limit_at_both_ends() -> None:
    """A new setting has to say what is too much: stores do not hold every number, nor calendars every duration."""
    for name, field in DurableSettings.model_fields.items():
        if field.annotation in (timedelta, int | None, int | Adaptive):
            for value in (timedelta.max, 10**30, -1, "-1s", timedelta(microseconds=-1)):
                assert f"{name} must be " in refusal(**{name: value})


def test_wrong_variables_are_refused_by_their_names_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_LEASE", "30")
    monkeypatch.setenv("DURABLE_CONCURRENCY", "many")
    message = refusal(poll_interval="soon")
    assert f"DURABLE_LEASE {DURATION} 10ms to 1 day, got '30'" in message
    assert "DURABLE_CONCURRENCY must be a number of runs from 1 to 1000000, or a range such as '4-64', got 'many'" in (
        message
    )
    assert f"; poll_interval {DURATION}" in message
    with pytest.raises(ConfigurationError, match=r"^DURABLE_LEASE must be "):
        DurableSettings(concurrency=1)


@pytest.mark.parametrize("key", ["hush", "", b"hush\xff", "hush" * 7])
def test_a_key_that_is_no_key_is_refused_and_nowhere_shown(key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the message nor by what caused it: both end in a log. An empty key would sign for everybody."""
    with pytest.raises(ConfigurationError) as caught:
        options(webhook_secret=key)
    said = "".join(traceback.format_exception(caught.value))
    assert "webhook_secret must be 32 or more random characters. Make a key with `openssl rand -hex 32`" in said
    assert "hush" not in said
    if isinstance(key, str):
        monkeypatch.setenv("DURABLE_WEBHOOK_SECRET", key)
        with pytest.raises(ConfigurationError) as caught:
            options()
        said = "".join(traceback.format_exception(caught.value))
        assert "DURABLE_WEBHOOK_SECRET must be 32 or more random characters" in said
        assert "hush" not in said


def test_a_key_is_not_in_the_text_of_the_options() -> None:
    found = options(webhook_secret="hush" * 8)
    assert "hush" not in repr(found) + str(found)
    assert found.webhook_secret is not None


def test_ready_options_are_checked_where_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_ROLE", "boss")
    with pytest.raises(ConfigurationError, match="DURABLE_ROLE"):
        DurableModule.for_root(options())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"store": None}, "DurableOptions needs store=..."),
        ({"store": object()}, "store must be a StateStore, got a object, which lacks "),
        ({"store": object()}, "Wrap your client: store=PrismaStateStore(client)"),
        ({"store": MemoryStateStore}, "store must be an instance, got the class MemoryStateStore itself"),
        ({"transport": MemoryStateStore()}, "transport must be a Transport, got a MemoryStateStore, which lacks "),
        (
            {"wakeups": "postgresql://"},
            "wakeups must be a Wakeups, got a str, which lacks joined. Pass PostgresWakeups(",
        ),
        ({"clock": 12}, "clock must be a Clock, got a int, which lacks "),
        (
            {"settings": {"lease": "30s"}},
            "settings must be a DurableSettings, got a dict. Leave it out for the environ",
        ),
        ({"retention": "30 days"}, "retention must be a Retention, got a str. Leave it out to keep every run"),
        ({"queues": ["mail"]}, "queues must be a list of Queue, got ['mail']"),
        ({"schedules": 7}, "schedules must be a list of Schedule, got 7"),
        ({"interceptors": ["x"]}, "interceptors must be a list of functions that take a StepExecution and return an "),
        ({"stroe": 1}, "DurableOptions has no option 'stroe'"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused_with_the_advice(given: dict[str, Any], said: str) -> None:
    assert said in refusal(**given)


def test_a_control_plane_has_its_tenant_as_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options(topology="control-plane", tenant="acme", namespace="acme").namespace == "acme"
    assert options(topology="control-plane").namespace is None
    monkeypatch.setenv("DURABLE_NAMESPACE", "elsewhere")
    assert options(topology="control-plane", tenant="acme").namespace == "acme"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topology": "control-plane", "tenant": "a", "namespace": "b"}, "must be equal"),
        ({"topology": "tenant", "tenant": "a"}, "a tenant is store-less by definition"),
        ({"tenant": "a"}, "needs topology='control-plane'"),
        ({"topology": "star"}, "topology must be 'control-plane' or left out, which is the same, got 'star'"),
        ({"topology": "control-plane", "tenant": " "}, "namespace must be printable text of 1-200 bytes in UTF-8"),
    ],
)
def test_a_topology_that_contradicts_itself_is_refused(given: dict[str, Any], said: str) -> None:
    assert said in refusal(**given)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DURABLE_LEAS", "DURABLE_LEASE"),
        ("durable_lease_", "DURABLE_LEASE"),
        ("DURABLE_POLLINTERVAL", "DURABLE_POLL_INTERVAL"),
        ("DURABLE_WEBHOOK_KEY", "DURABLE_WEBHOOK_URL"),
        ("DURABLE_LEASE", None),
        ("durable_lease", None),
        ("DURABLE_TOKEN", None),
        ("DURABLE_GOODS_SERVICE", None),
        ("LEAS", None),
    ],
)
def test_a_misspelt_variable_is_known_by_what_it_is_like(name: str, meant: str | None) -> None:
    """Variables of the application's own that begin alike are none."""
    assert dict(misspelt_variables([name, "PATH"])) == ({} if meant is None else {name: meant})


async def test_the_start_warns_of_a_misspelt_variable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By its name: the value may be a secret."""
    monkeypatch.setenv("DURABLE_WEBHOOK_SECRETS", "hunter2")
    async with DurableModule.for_root(options()).running():
        pass
    (warning,) = (each.getMessage() for each in caplog.records if "DURABLE_" in each.getMessage())
    assert "DURABLE_WEBHOOK_SECRETS is not a setting" in warning
    assert warning.endswith("Did you mean DURABLE_WEBHOOK_SECRET?")
