"""The generated parts of pages: a comment `<!-- book: NAME -->` in a page stands for one."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from book.api import MODULES, api
from book.commands import commands
from book.errors import errors_table
from book.http import http_routes
from book.metrics import metrics_table
from book.options import OPTIONS, durable_options, options, settings

ROOT: Final = Path(__file__).resolve().parents[1]
_MARK: Final = re.compile(r"<!-- book: (.+?) -->")


def _changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2].strip()


PARTS: Final[dict[str, Callable[[], str]]] = {
    **{f"api {module}": partial(api, module) for module in MODULES},
    **{f"options {name}": partial(options, name) for name in OPTIONS},
    "options DurableOptions": durable_options,
    "commands fastapi-durable": partial(commands, "fastapi-durable"),
    "commands prisma-inprocess": partial(commands, "prisma-inprocess"),
    "settings": settings,
    "errors": errors_table,
    "metrics": metrics_table,
    "routes": http_routes,
    "changelog": _changelog,
}
"""What makes each part, by its name."""


def expanded(page: str) -> str:
    """Return a page with its parts in their places.

    Args:
        page: Markdown.

    Raises:
        KeyError: the page names a part that does not exist.
    """
    return _MARK.sub(lambda mark: PARTS[mark[1]](), page)


def parts_of(page: str) -> set[str]:
    """Return the names of a page's parts."""
    return set(_MARK.findall(page))
