"""The namespace in which an engine creates runs, and the runs that its callers may see."""

from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.model.records import DEFAULT_NAMESPACE, Run


def namespace_of(config: EngineConfig) -> str:
    """Return the namespace in which this engine creates runs."""
    return config.namespace or DEFAULT_NAMESPACE


def is_visible(config: EngineConfig, run: Run) -> bool:
    """Return whether this engine sees the run. An engine without a namespace sees every run."""
    return config.namespace is None or run.namespace == config.namespace
