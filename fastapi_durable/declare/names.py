"""Names that applications give: to workflows, steps, entities, queues and schedules."""

from typing import Any, Final

from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.reserved import is_engine_workflow
from fastapi_durable.model.text import fits_index, index_rule, shown

_NAME_LIMIT: Final = 200


def checked_workflow_name(name: Any) -> str:
    """The name of a workflow of an application.

    Raises:
        DefinitionError: it cannot be stored, belongs to the engine, or has a colon.
    """
    if is_engine_workflow(checked_part("name of a workflow", name)):
        raise DefinitionError(
            f"the name of a workflow must not begin with '__', which belongs to the engine, got {name!r}"
        )
    return str(name)


def checked_scoped_name(what: str, name: Any) -> str:
    """The name of something that each namespace has for itself, as it is part of an id.

    Raises:
        DefinitionError: it cannot be stored, or looks like a name in another namespace.
    """
    if checked_name(name).startswith("@"):
        raise DefinitionError(f"the {what} must not begin with '@', which names a namespace, got {name!r}")
    return str(name)


def checked_part(what: str, name: Any) -> str:
    """Return a name that becomes a part of an id or a token, next to a run id or another text of a caller.

    Such a text may contain colons, so the name must not: otherwise `update:a:b:c` could be the update `c` of the run
    `a:b`, or `b:c` of the run `a`.

    Raises:
        DefinitionError: the name cannot be stored, or contains a colon.
    """
    if ":" in checked_name(name):
        raise DefinitionError(f"the {what} must not contain ':', which separates the parts of ids, got {name!r}")
    return str(name)


def checked_name(name: Any) -> str:
    """`name`, if it can be stored and shown.

    Raises:
        DefinitionError: it cannot.
    """
    if not fits_index(name, _NAME_LIMIT):
        raise DefinitionError(f"a name must be {index_rule(_NAME_LIMIT)}, got {shown(name)}")
    return str(name)
