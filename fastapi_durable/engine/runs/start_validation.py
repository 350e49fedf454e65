"""Checks the options of a start before anything is written."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi_durable.engine.runs.labels import SCHEDULE_TAG
from fastapi_durable.engine.runs.singleton import SINGLETON_TAG
from fastapi_durable.model.clock import Clock, truncate
from fastapi_durable.model.duration import LONGEST, parse_duration
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import BY_NAME_TAGS, PAUSED_TAG
from fastapi_durable.model.text import fits_index, index_rule, shown

_TAG_LIMIT = 200
_TAGS_AT_MOST = 100
_KEY_LIMIT = 200
_TEXT_LIMIT = 2000
_ATTRIBUTES_AT_MOST = 100
_LARGEST_INTEGER = 2**53
"""Numbers are indexed as doubles."""

_PRIORITIES = range(-(2**31), 2**31)


def refuse_unknown(call: str, options: Mapping[str, object], known: Any) -> None:
    """Refuse unknown options, because Python does not check the names of a `TypedDict`.

    Raises:
        TypeError: an option is not in the `TypedDict`.
    """
    if options and (unknown := options.keys() - known.__optional_keys__):
        raise TypeError(
            f"{call}() got an unexpected keyword argument {min(unknown)!r}; it takes "
            f"{', '.join(sorted(known.__optional_keys__))}"
        )


def checked_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags that a caller adds to a run.

    Raises:
        InputValidationError: a tag cannot be stored, or there are too many.
    """
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise InputValidationError(f"tags must be a list of strings, got {shown(tags)}")
    if len(tags) > _TAGS_AT_MOST:
        raise InputValidationError(f"a run must have at most {_TAGS_AT_MOST} tags, got {len(tags)}")
    for tag in tags:
        if not fits_index(tag, _TAG_LIMIT):
            raise InputValidationError(f"a tag must be {index_rule(_TAG_LIMIT)}, got {shown(tag)}")
        if tag.startswith(SINGLETON_TAG):
            raise InputValidationError(
                f"a tag must not look like a singleton's key, which only the engine adds, got {tag[:80]!r}. Declare "
                "`singleton=` on the workflow"
            )
        if tag == PAUSED_TAG:
            raise InputValidationError(
                f"a tag must not be {PAUSED_TAG!r}, which marks a paused run: call pause(run_id)"
            )
        if tag in BY_NAME_TAGS:
            raise InputValidationError(f"a tag must not be {tag!r}, which marks a run that a client starts by name")
        if tag.startswith(SCHEDULE_TAG):
            raise InputValidationError(
                f"a tag must not begin with {SCHEDULE_TAG!r}, which marks the runs of a schedule, got {tag[:80]!r}"
            )
    return tuple(tags)


def check_attributes(attributes: Mapping[Any, Any]) -> None:
    """Check the keys and sizes of search attributes.

    Raises:
        InputValidationError: an attribute cannot be stored or searched, or there are too many.
    """
    if len(attributes) > _ATTRIBUTES_AT_MOST:
        raise InputValidationError(
            f"a run must have at most {_ATTRIBUTES_AT_MOST} search attributes, got {len(attributes)}"
        )
    for key, value in attributes.items():
        if not fits_index(key, _KEY_LIMIT):
            raise InputValidationError(
                f"the name of a search attribute must be {index_rule(_KEY_LIMIT)}, got {shown(key)}"
            )
        if isinstance(value, str) and (len(value.encode("utf-8", "surrogatepass")) > _TEXT_LIMIT or "\x00" in value):
            raise InputValidationError(
                f"the search attribute {key!r} must be a text of at most {_TEXT_LIMIT} bytes in UTF-8 without NUL, got "
                f"{shown(value)}"
            )
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            raise InputValidationError(
                f"the search attribute {key!r} must be an integer between -2**53 and 2**53, got {shown(value)}. Pass "
                "a larger integer as a text"
            )


def checked_moment(clock: Clock, delay: Any, at: Any) -> datetime | None:
    """Return when a run with these options begins. None: now.

    Raises:
        InputValidationError: both are given, or one is not a valid time.
    """
    if delay is None and at is None:
        return None
    if delay is not None and at is not None:
        raise InputValidationError("at most one of delay and at must be given, got both")
    now = clock.now()
    if delay is not None:
        try:
            at = now + parse_duration(delay)
        except ValueError as error:
            raise InputValidationError(f"delay: {error}") from error
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise InputValidationError(f"at must be a datetime with a time zone, got {shown(at)}")
    if at > now + LONGEST:
        raise InputValidationError(f"at must be at most {LONGEST.days} days ahead, got {at.isoformat()}")
    return truncate(at.astimezone(UTC)) if at > now else None


def refuses_existing(if_exists: Any) -> bool:
    """Return whether a start requires a new run.

    Raises:
        InputValidationError: `if_exists` has an unknown value.
    """
    if if_exists not in ("return", "refuse"):
        raise InputValidationError(f"if_exists must be 'return' or 'refuse', got {shown(if_exists)}")
    return bool(if_exists == "refuse")


def checked_priority(priority: Any) -> int | None:
    """Return the priority, if the database can store it.

    Raises:
        InputValidationError: it is not a 32-bit integer.
    """
    if priority is None or (isinstance(priority, int) and not isinstance(priority, bool) and priority in _PRIORITIES):
        return priority
    raise InputValidationError(f"priority must be an integer of 32 bits, got {shown(priority)}")
