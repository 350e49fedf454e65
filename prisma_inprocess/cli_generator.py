"""Under the Prisma CLI: `provider = "python -m prisma_inprocess"` in a generator block, then `prisma generate`.

The CLI starts the provider and speaks JSON-RPC with it: requests come on standard input, one a line, and answers go to
standard error. Only the path of the schema is taken from the CLI: the description of the schema that this package needs
is the one of its own version of Prisma's schema engine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from prisma_inprocess.errors import PrismaInProcessError
from prisma_inprocess.generator import generate

INVOCATION_VARIABLE: Final = "PRISMA_GENERATOR_INVOCATION"
_FAILED: Final = -32000


def is_invoked_by_prisma() -> bool:
    """Return whether the Prisma CLI started this process."""
    return bool(os.environ.get(INVOCATION_VARIABLE))


def serve(requests: Iterable[str] = sys.stdin, answers: TextIO = sys.stderr) -> None:
    """Answer the CLI's requests until it closes the connection."""
    for line in requests:
        if line.strip():
            answers.write(json.dumps(_answer(json.loads(line))) + "\n")
            answers.flush()


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    if request.get("method") == "getManifest":
        # Name no engine, because the CLI would download it.
        manifest = {"prettyName": "Prisma Client Python (in-process)", "defaultOutput": "client", "requiresEngines": []}
        return {**answer, "result": {"manifest": manifest}}
    try:
        generate(Path(request["params"]["schemaPath"]))
    except PrismaInProcessError as error:
        return {**answer, "error": {"code": _FAILED, "message": str(error), "data": {}}}
    return {**answer, "result": None}
