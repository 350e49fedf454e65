"""The filter of a request: query parameters, and the cursor that continues a listing."""

import base64
import binascii
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from fastapi.exceptions import RequestValidationError

from fastapi_durable.model.clock import from_millis, to_millis, truncate
from fastapi_durable.model.records import AttributeFilter, Run, RunQuery, RunStatus
from fastapi_durable.web.bodies import RunFilter, attribute_filter
from fastapi_durable.web.schemas import AttributeText, Name

_LONGEST_CURSOR = 2000
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)


def run_filter(
    status: Annotated[list[RunStatus] | None, Query(max_length=9, description="Repeatable.")] = None,
    workflow: Name | None = None,
    tag: Annotated[Name | None, Query(description="Exactly this tag.")] = None,
    attr: Annotated[
        list[AttributeText] | None,
        Query(max_length=10, description="Repeatable `key:op:value`, op one of eq, ne, gt, gte, lt, lte."),
    ] = None,
    namespace: Name | None = None,
    origin: Name | None = None,
    unattributed: Annotated[bool, Query(description="Only runs without an origin.")] = False,
    created_from: datetime | None = None,
    created_until: datetime | None = None,
) -> RunFilter:
    """Return the filter in the query string."""
    return RunFilter(
        status=status,
        workflow=workflow,
        tag=tag,
        attr=attr or [],
        namespace=namespace,
        origin=origin,
        unattributed=unattributed,
        created_from=created_from,
        created_until=created_until,
    )


def run_query(selected: RunFilter, *, where: str = "query") -> RunQuery:
    """Return the store's query for a filter.

    Raises:
        RequestValidationError: an attribute condition is not `key:op:value`.
    """
    return RunQuery(
        workflow=selected.workflow,
        statuses=None if selected.status is None else frozenset(selected.status),
        tag=selected.tag,
        namespace=selected.namespace,
        origin=selected.origin,
        unattributed=selected.unattributed,
        created_from=_moment(selected.created_from),
        created_until=_moment(selected.created_until),
        attributes=tuple(_attribute(each, where) for each in selected.attr),
    )


def cursor_of(run: Run) -> str:
    """Return the cursor after this run. It is opaque to callers."""
    content = json.dumps([to_millis(run.created_at), run.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def after_cursor(query: RunQuery, cursor: str | None) -> RunQuery:
    """Return the query for the runs after a cursor.

    Raises:
        RequestValidationError: the cursor is not from this listing.
    """
    if cursor is None:
        return query
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise ValueError
        content: Any = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        millis, run_id = content
        if type(millis) is not int or type(run_id) is not str or "\x00" in run_id:
            raise ValueError
        run_id.encode()
        return replace(query, before=(from_millis(millis), run_id))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise _refused("query", "cursor", "not a cursor of this listing") from error


def _attribute(text: str, where: str) -> AttributeFilter:
    try:
        return attribute_filter(text)
    except ValueError as error:
        raise _refused(where, "attr", str(error)) from error


def _moment(value: datetime | None) -> datetime | None:
    """Return a time in UTC. A time without a zone is UTC. At the ends of the calendar, arithmetic would overflow."""
    if value is None:
        return None
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if aware.replace(tzinfo=UTC) < _EARLIEST:
        return _EARLIEST
    if aware.replace(tzinfo=UTC) > _LATEST:
        return _LATEST
    return truncate(aware)


def _refused(where: str, name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (where, name), "msg": message, "type": "value_error", "input": None}])
