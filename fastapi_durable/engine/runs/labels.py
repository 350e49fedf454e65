"""The tags of a new run: what the workflow declares, what the caller adds, and the engine's own."""

from collections.abc import Collection
from typing import Final

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.runs.singleton import SINGLETON_TAG, singleton_tag
from fastapi_durable.model.records import BY_NAME_TAGS, Json

SCHEDULE_TAG: Final = "schedule:"


def labelled(codec: Codec, definition: WorkflowDefinition, input: Json, tags: Collection[str] = ()) -> tuple[str, ...]:
    """Return all tags of a run that starts with this encoded input.

    Raises:
        InputValidationError: the workflow's singleton key cannot be computed from the input.
    """
    singleton = singleton_tag(codec, definition, input)
    return tuple(dict.fromkeys((*definition.tags, *tags, *(() if singleton is None else (singleton,)))))


def relabelled(codec: Codec, definition: WorkflowDefinition, input: Json, tags: Collection[str]) -> tuple[str, ...]:
    """Return the tags of a run that takes over those of another run, with the singleton key of its own input."""
    kept = [tag for tag in tags if not tag.startswith(SINGLETON_TAG) and tag not in BY_NAME_TAGS]
    return labelled(codec, definition, input, kept)


def continued(codec: Codec, definition: WorkflowDefinition, input: Json, tags: Collection[str]) -> tuple[str, ...]:
    """Return the tags of a run that another run continues as: the same tags, with the singleton key of its own input.

    Raises:
        InputValidationError: the workflow's singleton key cannot be computed from the new input.
    """
    singleton = singleton_tag(codec, definition, input)
    if singleton in tags:
        return tuple(tags)
    kept = [tag for tag in tags if not tag.startswith(SINGLETON_TAG)]
    return (*kept, *(() if singleton is None else (singleton,)))


def schedule_tag(key: str) -> str:
    """Return the tag of every run of a schedule. It finds the runs that have not ended."""
    return f"{SCHEDULE_TAG}{key}"
