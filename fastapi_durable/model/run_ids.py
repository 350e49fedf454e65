"""Run ids: which ids a caller may choose, and which ids the engine derives from another run's.

A child is `order.child.<position>`, unless its parent's body names it. A run that continues another is `order~1`,
`order~2`, ...; a retry with a new input is `order~retry~<8 characters>`, and a fork `order~fork~<8 characters>`. The
engine reads these forms, so callers must not use them.
"""

import re
from typing import Final

from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.reserved import PREFIXES, checked_text

DERIVED_ID_LIMIT: Final = 550
"""Maximum size in bytes of an id that the engine derives from another one, and can still refuse: of a child, a retry or
a fork."""

RUN_ID_LIMIT: Final = 600
"""Maximum size in bytes of any run id. The difference is for ids that cannot be refused: `dlq:<id>` and
`<id>~<number>`."""

_SHADOWED: Final = re.compile(r"(?:.*[/\\])?\.{1,2}(?:[/\\].*)?|facets|(?:.*/)?stream|.*/values/[^/]*", re.DOTALL)
"""Ids that stand in the console's addresses where a route has a word of its own, or that HTTP clients and proxies
shorten."""

_HOP: Final = re.compile(r"(?P<root>.+)(?<!~retry)(?<!~fork)~(?P<number>[1-9][0-9]*)", re.DOTALL)
"""The eight characters of a retry or a fork may be digits as well."""

_CHILD: Final = re.compile(r".+\.child\.[0-9]+", re.DOTALL)
_RETRY: Final = re.compile(r"(?P<origin>.+)~retry~[^~.]{8}(?:~[1-9][0-9]*)?", re.DOTALL)
_FORK: Final = re.compile(r"(?P<source>.+)~fork~[^~.]{8}", re.DOTALL)


def checked_run_id(run_id: object, *, inside: str | None = None) -> str:
    """Return a run id that a caller chose, if it is valid.

    Args:
        inside: The id of the run whose body chooses it. What begins with that is the run's own to give away, also where
            the engine made it.

    Raises:
        InputValidationError: it cannot be stored, the engine may make it for another run, or a route shadows it.
    """
    checked = checked_text("run_id", run_id)
    begun = inside is not None and checked.startswith(inside) and checked != inside
    if not begun and any(prefix.of_runs and prefix.begins(checked) for prefix in PREFIXES):
        raise InputValidationError(
            f"run_id must not begin with {checked.partition(':')[0]!r}, which belongs to the engine, got "
            f"{checked[:80]!r}. Put a word of your own in front"
        )
    if is_hop(checked) or _RETRY.fullmatch(checked) or _FORK.fullmatch(checked):
        raise InputValidationError(
            "run_id must not end like the id of a retry, a fork or a run that continued as a new run (~retry~..., "
            f"~fork~..., ~1), got {checked[:80]!r}"
        )
    if not begun and _CHILD.fullmatch(checked):
        raise InputValidationError(
            f"run_id must not end like the id of another run's child (.child.1), which that run would take for its "
            f"own, got {checked[:80]!r}"
        )
    if _SHADOWED.fullmatch(checked):
        raise InputValidationError(
            "run_id must not be 'facets' or 'stream', nor end with '/stream' or '/values/...', nor have '.' or '..' as "
            f"a part between slashes, which are addresses of the console, got {checked[:80]!r}"
        )
    return checked


def derived_run_id(run_id: str, what: str, mend: str) -> str:
    """Return an id that the engine derived from another one, if it is short enough.

    Args:
        what: Names the run in the message: "a child of".
        mend: What the caller can do instead.

    Raises:
        InputValidationError: it is too long.
    """
    size = len(run_id.encode())
    if size > DERIVED_ID_LIMIT:
        raise InputValidationError(
            f"the id of {what} must have at most {DERIVED_ID_LIMIT} bytes, got {size}: {run_id[:80]!r}... {mend}"
        )
    return run_id


def retry_run_id(origin_id: str, suffix: str) -> str:
    """Return the id of a run that retries another one with a new input. `suffix` has eight characters."""
    return f"{origin_id}~retry~{suffix}"


def fork_run_id(source_id: str, suffix: str) -> str:
    """Return the id of a run that begins with a copy of another one's history. `suffix` has eight characters."""
    return f"{source_id}~fork~{suffix}"


def is_same_after_fork(recorded: str, asked: str, run_id: str) -> bool:
    """Return whether two names are equal, except that one contains a fork's id and the other its source's id.

    A body makes tokens and names of steps from `ctx.run_id`. The history of a fork contains the names of its source.
    """
    ids = [run_id]
    while fork := _FORK.fullmatch(ids[-1]):
        ids.append(fork["source"])
    if len(ids) == 1:
        return False
    # The longest first, because each one begins with the next.
    for each in ids:
        recorded, asked = recorded.replace(each, "\0"), asked.replace(each, "\0")
    return recorded == asked


def origin_of(run_id: str) -> str | None:
    """Return the id of the run that this run retries, directly or in its chain.

    A child of such a run retries nothing.
    """
    retry = _RETRY.fullmatch(run_id)
    return None if retry is None else retry["origin"]


def root_of(run_id: str) -> str:
    """Return the first id of a chain of runs. A run that never continued is a chain of one."""
    hop = _HOP.fullmatch(run_id)
    return run_id if hop is None else hop["root"]


def hop_number(run_id: str) -> int:
    """Return how many runs of the chain came before this run: 0 for `order`, 2 for `order~2`."""
    hop = _HOP.fullmatch(run_id)
    return 0 if hop is None else int(hop["number"])


def is_hop(run_id: str) -> bool:
    """Return whether the run continues another run."""
    return _HOP.fullmatch(run_id) is not None


def next_run_id(run_id: str) -> str:
    """Return the id of the next run of the chain: `order~1` after `order`, `order~2` after `order~1`."""
    return f"{root_of(run_id)}~{hop_number(run_id) + 1}"
