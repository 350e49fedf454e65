"""The parts of a setting: the given value, the value that is read, and the rule that converts one into the other."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import Field, PlainValidator

from fastapi_durable.model.duration import LONGEST, Duration, parse_duration
from fastapi_durable.model.text import fits_index, index_rule, shown

_SHOWN = 80
_LONGEST_NAME = 200
_LONGEST_URL = 2000

if TYPE_CHECKING:
    Read = TypeVar("Read")
    Given = TypeVar("Given")

    class Setting(Generic[Read, Given]):
        """A value that may be given as a `Given`, and is read as a `Read`.

        Type checkers do not know that pydantic converts a field's value. They do understand a descriptor.
        """

        def __get__(self, instance: object, owner: type[object], /) -> Read: ...
        def __set__(self, instance: Any, value: Given, /) -> None: ...

else:

    class Setting:
        def __class_getitem__(cls, types: tuple[Any, Any]) -> Any:
            read, _ = types
            return read


DurationSetting = Setting[timedelta, Duration | None]


def setting(documentation: str, /, *, default: Any = None, made: Callable[[], Any] | None = None) -> Any:
    """Declare a field with its default, written as users write it, and its text for the documentation.

    Args:
        default: None: the setting may be unset.
        made: Makes the default, instead of `default`.
    """
    if made is not None:
        return Field(default_factory=made, description=documentation)
    return Field(default, description=documentation, validate_default=default is not None)


def rule(text: str, parse: Callable[[Any], Any], *, is_secret: bool = False) -> PlainValidator:
    """Return the validation of a setting: the result of `parse`, or one sentence for each value that `parse` refuses.

    Args:
        text: Continues after "must be".
        parse: Raises a ValueError or TypeError.
        is_secret: No message shows the value.
    """

    def checked(value: Any) -> Any:
        try:
            return parse(value)
        except (TypeError, ValueError):
            what = "" if is_secret else f", got {shown(value, _SHOWN)}"
            # Without the cause, which may show the value again.
            raise ValueError(f"must be {text}{what}") from None

    return PlainValidator(checked)


def between(least: str, most: str) -> PlainValidator:
    """A duration of limited length."""
    return rule(f"a timedelta or a string such as '30s', from {least} to {most}", _limited(least, most))


def between_or_never(least: str, most: str) -> PlainValidator:
    """A duration of limited length, or "never", which is read as `LONGEST`."""
    limited = _limited(least, most)

    def parse(value: Any) -> timedelta:
        # LONGEST as well: settings that were read are given again, to options.
        return LONGEST if value in ("never", LONGEST) else limited(value)

    return rule(f"'never', or a timedelta or a string such as '30s', from {least} to {most}", parse)


def _limited(least: str, most: str) -> Callable[[Any], timedelta]:
    shortest, longest = parse_duration(least), parse_duration(most)

    def parse(value: Any) -> timedelta:
        duration = parse_duration(value if isinstance(value, timedelta) else str(value))
        if not shortest <= duration <= longest:
            raise ValueError
        return duration

    return parse


def whole_number(least: int, most: int) -> PlainValidator:
    """A number of limited size."""

    def parse(value: Any) -> int:
        number = int(value) if type(value) is str else value
        if type(number) is not int or not least <= number <= most:
            raise ValueError
        return number

    return rule(f"a whole number from {least} to {most}", parse)


def _name(value: Any) -> str:
    if not fits_index(value, _LONGEST_NAME) or value != value.strip():
        raise ValueError
    return str(value)


def _url(value: Any) -> Any:
    if callable(value):
        return value
    if not (len(value) <= _LONGEST_URL and re.fullmatch(r"https?://\S+", value)):
        raise ValueError
    return value


name = rule(f"{index_rule(_LONGEST_NAME)} without a space at either end", _name)
url = rule(f"an http or https URL of at most {_LONGEST_URL} characters, or a function from a token to one", _url)
