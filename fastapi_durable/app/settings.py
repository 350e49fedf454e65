"""Settings from the environment: `DURABLE_LEASE=30s`, `DURABLE_ROLE=api`, ..."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.core.setting import DurationSetting, Setting, between, rule, setting
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.text import shown


class Role(StrEnum):
    """What a process does: `api` starts and reads runs, `worker` drives them, `all` does both."""

    API = "api"
    WORKER = "worker"
    ALL = "all"

    @property
    def drives(self) -> bool:
        return self is not Role.API


_SHORTEST_KEY: Final = 32


def _key(value: Any) -> SecretStr:
    key = value if isinstance(value, SecretStr) else SecretStr(value)
    if not isinstance(value, str | SecretStr) or len(key.get_secret_value()) < _SHORTEST_KEY:
        raise ValueError
    return key


_role = rule("'api', 'worker' or 'all'", Role)
_secret = rule(
    f"{_SHORTEST_KEY} or more random characters. Make a key with `openssl rand -hex 32`", _key, is_secret=True
)


class DurableSettings(EngineConfig, BaseSettings):
    """Settings from the environment: one variable `DURABLE_<NAME>` each. docs/reference/settings.md lists them.

    No `.env` file is read unless you pass `settings=DurableSettings(_env_file=".env")`.

    Raises:
        ConfigurationError: a variable or argument is wrong. The message has its name and the rule.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="DURABLE_", env_nested_delimiter="__", extra="ignore"
    )

    role: Annotated[Setting[Role, Role | Literal["api", "worker", "all"] | None], _role] = setting(
        "`api` starts and reads runs, `worker` drives them, `all` does both", default="all"
    )
    startup_timeout: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "time that the start waits for the store to answer",
        default="10s",
    )
    webhook_secret: Annotated[Setting[SecretStr | None, SecretStr | str | None], _secret] = setting(
        "key with which callers sign callbacks (HMAC-SHA256), 32 characters or more. Unset: no signature is needed"
    )

    if not TYPE_CHECKING:  # the signature has the fields

        def __init__(self, **given: Any) -> None:
            # Leave out values of None here, so that the environment decides.
            given = {name: value for name, value in given.items() if value is not None}
            try:
                super().__init__(**given)
            except ValidationError as error:
                problems = error.errors(include_url=False, include_context=False)
                refusals = "; ".join(_refusal(type(self).__name__, problem, given) for problem in problems)
                raise ConfigurationError(refusals) from error


# Read by `fastapi-durable runs --url` and similar ones.
_OF_COMMANDS: Final = ("TOKEN", "USERNAME", "PASSWORD")


def misspelt_variables(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield environment variables that look like a misspelt setting, each with the name of that setting.

    Args:
        names: Names of environment variables.
    """
    known = {*(name.upper() for name in DurableSettings.model_fields), *_OF_COMMANDS}
    for name in sorted(names):
        prefix, _, rest = name.upper().partition("_")
        # A setting with parts has variables such as DURABLE_SETTING__PART.
        if prefix == "DURABLE" and rest.partition("__")[0] not in known:
            for similar in get_close_matches(rest, sorted(known), n=1, cutoff=0.7):
                yield name, f"DURABLE_{similar}"


def _refusal(owner: str, problem: ErrorDetails, given: dict[str, Any]) -> str:
    name, message = str(problem["loc"][0]), problem["msg"]
    subject = name if name in given else f"DURABLE_{name.upper()}"
    match problem["type"]:
        case "missing":
            return f"{owner} needs {name}=..."
        case "extra_forbidden":
            return f"{owner} has no option {name!r}"
        case "value_error":  # a rule's own
            return f"{subject} {message.removeprefix('Value error, ')}"
    return f"{subject} {message.replace('Input should be', 'must be')}, got {shown(problem['input'])}"
