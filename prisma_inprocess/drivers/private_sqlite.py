"""Python's `sqlite3`, loaded a second time for this package alone.

Converters and adapters are registered for a whole process. Django registers some, the recipes in Python's documentation
do, and `import sqlite3` itself registers two, for `DATE` and `TIMESTAMP`. They would change the values of this
package's connections, and its own would change those of other code. The C module keeps its registries in its own state,
so a second copy of it begins with empty ones. Both copies share one SQLite library, and therefore its locks.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from typing import Any, Final


def _load() -> Any:
    spec = importlib.util.find_spec("_sqlite3")
    if spec is None or spec.loader is None:
        raise ImportError("this Python was built without its `sqlite3` module, which SQLite databases need")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


private_sqlite: Final = _load()
# The copy raises classes of its own. Both are caught, because a thread may also be given a connection of `sqlite3`.
ERRORS: Final[tuple[type[Exception], ...]] = (private_sqlite.Error, sqlite3.Error)
WARNINGS: Final[tuple[type[Exception], ...]] = (private_sqlite.Warning, sqlite3.Warning)
