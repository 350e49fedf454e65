"""The run ids, signal tokens and workflow names that are reserved for the engine, and their form.

Callers can neither take nor forge what stands here: `start`, `signal`, the console and the documents share this list.
In the namespace `default` the forms are the reference's (`sched:<key>:<bucket>`). In any other namespace its name and
length stand first, so that the names of two namespaces never run into one another: `sched@6.orders:<key>:<bucket>`.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import DEFAULT_NAMESPACE
from fastapi_durable.model.text import fits_index, index_rule, shown

CALLER_ID_LIMIT: Final = 500
"""Maximum size in bytes of a run id, a token or another id that a caller chooses."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The prefix of ids or tokens that belong to the engine.

    Attributes:
        of_runs: Whether run ids begin with it.
        of_tokens: Whether signal tokens begin with it.
        meaning: What begins with it.
    """

    word: str
    meaning: str
    of_runs: bool = False
    of_tokens: bool = False

    def __str__(self) -> str:
        return f"{self.word}:"

    def begins(self, text: str) -> bool:
        """Return whether `text` begins with the prefix, in the form of any namespace."""
        return text.startswith((f"{self.word}:", f"{self.word}@"))


ENTITY: Final = Prefix("entity", "the run of an entity, and the operations sent to it", of_runs=True, of_tokens=True)
ACCUMULATOR: Final = Prefix(
    "__evtacc__", "a run that collects events for `debounce=` or `batch=`", of_runs=True, of_tokens=True
)
EVENT_RUN: Final = Prefix("evt", "a run that an event started", of_runs=True)
SCHEDULE_RUN: Final = Prefix("sched", "a run that a schedule started", of_runs=True)
DEAD_LETTER: Final = Prefix("dlq", "the dead letter of a run", of_runs=True)
FOLLOW_UP: Final = Prefix("ended", "the run that an ending started, by `on_success=` or `on_failure=`", of_runs=True)
CHILD: Final = Prefix("child", "the end of a run that another one waits for", of_tokens=True)
CHAIN: Final = Prefix("chain", "the live run of a chain", of_tokens=True)
SINGLETON: Final = Prefix("singleton", "a place in a singleton, or the wait for one", of_tokens=True)
BREAKPOINT: Final = Prefix("bp", "a breakpoint at which a run stands", of_tokens=True)
WEBHOOK: Final = Prefix("wh", "the callback of a webhook", of_tokens=True)
EVENT: Final = Prefix("event", "the wait for an event", of_tokens=True)
TASK: Final = Prefix("task", "the end of a task", of_tokens=True)
UPDATE: Final = Prefix("update", "an update of a run", of_tokens=True)
ENTITY_REPLY: Final = Prefix("entityreply", "the answer of an entity", of_tokens=True)

PREFIXES: Final = (
    ENTITY, ACCUMULATOR, EVENT_RUN, SCHEDULE_RUN, DEAD_LETTER, FOLLOW_UP,
    CHILD, CHAIN, SINGLETON, BREAKPOINT, WEBHOOK, EVENT, TASK,
    UPDATE, ENTITY_REPLY,
)  # fmt: skip

JOINED: Final = f"signal:{CHILD}"
"""Prefix of the names of checkpoints in which a parent has the ending of its child."""

_SCOPED: Final = re.compile(r"@\d+\.")

ENGINE_WORKFLOWS: Final = "__"
"""Prefix of the names of the engine's own workflows."""


def scoped(namespace: str, name: str) -> str:
    """Return `name` as it is stored in a namespace: as it is in `default`, or else `@6.orders:name`."""
    return name if namespace == DEFAULT_NAMESPACE else f"@{len(namespace)}.{namespace}:{name}"


def engine_id(prefix: Prefix, namespace: str, *names: str) -> str:
    """Return an id or token of the engine, built from names: `sched:nightly:7`, `sched@6.orders:nightly:7`."""
    joined = ":".join(names)
    return f"{prefix}{joined}" if namespace == DEFAULT_NAMESPACE else f"{prefix.word}{scoped(namespace, joined)}"


def other_event(name: str) -> Prefix:
    """Return the prefix of a run that an event started, if its name is not the first one in `on_event=`.

    It is `evt@@8.refunded:`. Each event name has its own ids, so events of two names may have one id. No namespace
    begins with `@@`.
    """
    return replace(EVENT_RUN, word=f"{EVENT_RUN.word}@@{len(name)}.{name}")


def kept_name(namespace: str, name: str) -> str:
    """Return the name under which a caller's signal or event is kept, so that each namespace finds only its own.

    Tokens of the engine stay as they are: they name a run already.
    """
    return name if is_engine_token(name) else scoped(namespace, name)


def looks_scoped(name: str) -> bool:
    """Return whether a caller's name looks like a name that is kept for another namespace."""
    return _SCOPED.match(name) is not None


def is_engine_token(token: str) -> bool:
    """Return whether only the engine itself sends signals on the token."""
    return any(prefix.of_tokens and prefix.begins(token) for prefix in PREFIXES)


def is_engine_workflow(name: str) -> bool:
    """Return whether the name belongs to one of the engine's own workflows."""
    return name.startswith(ENGINE_WORKFLOWS)


def checked_token(token: object) -> str:
    """Return a signal token that a caller chose, if it is valid.

    Raises:
        InputValidationError: it cannot be stored, or signals on it would forge what only the engine sends.
    """
    checked = checked_text("token", token)
    if is_engine_token(checked):
        raise InputValidationError(
            f"token must not begin with {re.split('[:@]', checked)[0]!r}, which belongs to the engine, got "
            f"{checked[:80]!r}. Put a word of your own in front"
        )
    if looks_scoped(checked):
        raise InputValidationError(
            f"token must not begin with '@', a number and '.', which mark a namespace, got {checked[:80]!r}. "
            "Put a word of your own in front"
        )
    return checked


def checked_text(what: str, text: object) -> str:
    """Return a run id, a token or another id, if every database can store it as a key.

    Raises:
        InputValidationError: it is not one.
    """
    if not fits_index(text, CALLER_ID_LIMIT):
        raise InputValidationError(f"{what} must be {index_rule(CALLER_ID_LIMIT)}, got {shown(text)}")
    return str(text)
