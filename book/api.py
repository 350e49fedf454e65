"""The API pages: one entry of mkdocstrings for each public name."""

import importlib
from typing import Final

MODULES: Final = (
    "fastapi_durable",
    "fastapi_durable.errors",
    "fastapi_durable.events",
    "fastapi_durable.store",
    "fastapi_durable.store.contract",
    "fastapi_durable.testing",
    "fastapi_durable.transport",
    "fastapi_durable.transport.contract",
    "fastapi_durable.wakeups",
    "prisma_inprocess",
    "prisma_inprocess.migrate",
)
"""The public modules."""


def public_names(module: str) -> list[str]:
    """Return the names that a module offers; it must be one of `MODULES`."""
    names: list[str] = list(importlib.import_module(module).__all__)
    return names


def api(module: str) -> str:
    """Return an entry for each public name of a module.

    A name that the module only passes on from another public module is documented there, and linked.

    Args:
        module: One of `MODULES`.
    """
    parts = []
    for name in public_names(module):
        first = next(other for other in MODULES if name in public_names(other) and _same(name, module, other))
        if first == module:
            parts.append(f"::: {module}.{name}")
        else:
            page = "index" if first == "fastapi_durable" else first.removeprefix("fastapi_durable.").replace(".", "-")
            parts.append(f"## `{name}` {{ #{module}.{name} }}\n\nSee [`{first}.{name}`]({page}.md#{first}.{name}).")
    return "\n\n".join(parts)


def _same(name: str, module: str, other: str) -> bool:
    one, two = (getattr(importlib.import_module(each), name) for each in (module, other))
    return one is two
