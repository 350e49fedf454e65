"""How the models of a large schema are built: each when it is first used.

pydantic builds a model together with all models that it reaches. For a large schema that takes seconds and hundreds of
megabytes at import, and a long chain of relations exceeds Python's recursion limit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final

# A schema with this number of models is large. pydantic needs about 15 stack frames for each model of a chain.
LARGE: Final = 40
_FRAMES_PER_MODEL: Final = 40

_building = threading.RLock()


def build_schema(handler: Callable[[Any], Any], source: Any, models: int) -> Any:
    """pydantic's schema of a model, built with enough room on the stack for a chain of all models.

    The recursion limit belongs to the process, so one thread builds at a time.
    """
    with _building:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 1000 + models * _FRAMES_PER_MODEL))
        try:
            return handler(source)
        finally:
            sys.setrecursionlimit(limit)
