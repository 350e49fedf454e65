"""Selects the runs of a `RunQuery`. Every other store has to select the same ones."""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from fastapi_durable.model.records import (
    AttributeFilter,
    AttributeOperator,
    Run,
    RunQuery,
    SearchAttributes,
    SearchValue,
)

_BLANK = " \t\r\n"
_COMPARE: dict[AttributeOperator, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def matches(run: Run, query: RunQuery) -> bool:
    """Return whether the run meets every condition of the query, except `before`."""
    return matches_beside_facets(run, query) and all(_facet_conditions(run, query))


def matches_beside_facets(run: Run, query: RunQuery) -> bool:
    """Return whether the run meets the conditions that facets do not count by."""
    return all(_plain_conditions(run, query)) and all(
        _attribute_matches(condition, run.search_attributes) for condition in query.attributes
    )


def comes_before(run: Run, query: RunQuery) -> bool:
    """Return whether the run comes after the query's `before` in the listing, which is ordered from new to old."""
    return query.before is None or (run.created_at, run.id) < query.before


def attributed_origin(run: Run) -> str | None:
    """Return the run's origin. None if it is blank."""
    return run.origin if run.origin and run.origin.strip(_BLANK) else None


def _facet_conditions(run: Run, query: RunQuery) -> Iterator[bool]:
    if query.status is not None:
        yield run.status == query.status
    if query.statuses is not None:
        yield run.status in query.statuses
    if query.origin is not None:
        yield run.origin == query.origin
    if query.unattributed:
        yield attributed_origin(run) is None


def _plain_conditions(run: Run, query: RunQuery) -> Iterator[bool]:
    if query.workflow is not None:
        yield run.workflow == query.workflow
    if query.namespace is not None:
        yield run.namespace == query.namespace
    if query.tag is not None:
        yield query.tag in run.tags
    if query.parent_run_id is not None:
        yield run.parent_run_id == query.parent_run_id
    if query.never_driven:
        yield run.updated_at == run.created_at
    if query.created_from is not None:
        yield run.created_at >= query.created_from
    if query.created_until is not None:
        yield run.created_at < query.created_until


def _attribute_matches(condition: AttributeFilter, attributes: SearchAttributes) -> bool:
    stored = attributes.get(condition.key)
    if stored is None or _kind(stored) is not _kind(condition.value):
        return False
    return _COMPARE[condition.operator](stored, condition.value)


def _kind(value: SearchValue) -> type:
    if isinstance(value, bool):
        return bool
    return str if isinstance(value, str) else float
