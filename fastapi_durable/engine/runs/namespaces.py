"""Ids that are made of names, not of chance: the same names in two namespaces must not mean one run."""

from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.model.records import DEFAULT_NAMESPACE, Run


def namespace_of(config: EngineConfig) -> str:
    """Where this engine creates runs."""
    return config.namespace or DEFAULT_NAMESPACE


def within(namespace: str, name: str) -> str:
    """`name` as it stands in an id: alone in the default namespace, as in the reference, else with the namespace."""
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"


def is_visible(config: EngineConfig, run: Run) -> bool:
    """Whether callers of this engine may see and touch the run; an engine without a namespace is there for all."""
    return config.namespace is None or run.namespace == config.namespace
