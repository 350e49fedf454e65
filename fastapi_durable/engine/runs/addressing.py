"""Finds the run that an id addresses, and checks that the caller may see it.

A run's namespace never changes, so it can be checked before a transaction.
"""

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.chain import head_of
from fastapi_durable.engine.runs.namespaces import is_visible
from fastapi_durable.model.errors import RunNotFoundError
from fastapi_durable.model.records import Run
from fastapi_durable.store.base import StateStore


def visible_store(kernel: Kernel) -> StateStore:
    """Return the store as callers of this engine see it: limited to the engine's namespace, if it has one."""
    namespace = kernel.config.namespace
    return kernel.store if namespace is None else kernel.store.with_scope(namespace)


async def resolve_run(kernel: Kernel, run_id: str) -> Run:
    """Return the run of an id, or the run that it continued as.

    Raises:
        RunNotFoundError: no run has this id, or the run is in another namespace.
    """
    run = await head_of(kernel.store, run_id)
    if run is None or not is_visible(kernel.config, run):
        raise RunNotFoundError(run_id)
    return run


async def require_visible(kernel: Kernel, run_id: str) -> None:
    """Refuse the id of a run that the engine does not see. An engine without a namespace accepts every id.

    Raises:
        RunNotFoundError: the engine has a namespace, and no run in it has this id.
    """
    if kernel.config.namespace is None:
        return
    run = await kernel.store.find_run(run_id)
    if run is None or not is_visible(kernel.config, run):
        raise RunNotFoundError(run_id)
