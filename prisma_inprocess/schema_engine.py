"""Prisma's schema engine (WebAssembly): validates a schema and describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prisma_inprocess.errors import GenerationError
from prisma_inprocess.wasm.bindgen import BindgenInstance, WasmFailure
from prisma_inprocess.wasm.module_cache import load_module, new_engine


class SchemaEngine:
    """Reads Prisma schemas without Node and without the Prisma CLI.

    Args:
        wasm_file: `prisma_schema_build_bg.wasm` of the npm package `@prisma/prisma-schema-wasm`.
    """

    def __init__(self, wasm_file: Path) -> None:
        engine = new_engine()
        self._instance = BindgenInstance(engine, load_module(engine, wasm_file))

    def config(self, schema: str) -> dict[str, Any]:
        """Generators and datasources of a schema (without the datasource's `url`, which this version of Prisma does not
        allow).
        """
        answer = json.loads(
            self._call(
                "get_config", {"prismaSchema": schema, "datasourceOverrides": {}, "env": {}, "ignoreEnvVarErrors": True}
            )
        )
        if answer.get("errors"):
            raise GenerationError("\n".join(str(error["message"]) for error in answer["errors"]))
        config: dict[str, Any] = answer["config"]
        return config

    def dmmf(self, schema: str) -> dict[str, Any]:
        """Prisma's description (DMMF) of the schema: models, and every input and output type of every operation."""
        description: dict[str, Any] = json.loads(self._call("get_dmmf", {"prismaSchema": schema, "noColor": True}))
        return description

    def validate(self, name: str, schema: str) -> None:
        """Check a schema, which has no URLs.

        Args:
            name: The name of its file, for the message.
            schema: Its text.

        Raises:
            GenerationError: it is invalid; the message lists every error with its line.
        """
        self._call("validate", {"prismaSchema": [[name, schema]], "noColor": True})

    def format(self, name: str, schema: str) -> str:
        """A schema as Prisma lays it out. One that cannot be read comes back as it is."""
        options = {"textDocument": {"uri": "file:/schema.prisma"}, "options": {"tabSize": 2, "insertSpaces": True}}
        files: list[list[str]] = json.loads(self._call("format", [[name, schema]], options))
        return files[0][1]

    def _call(self, function: str, *parameters: Any) -> str:
        texts = [part for value in parameters for part in self._instance.write_text(json.dumps(value))]
        try:
            result = self._instance.call(function, *texts)
        except WasmFailure as failure:
            raise GenerationError(f"Prisma's schema engine failed: {failure.value}") from failure
        if len(result) == 2 and function == "validate":
            if result[1]:
                raise GenerationError(_message_of(self._instance.take(result[0])))
            return ""
        if len(result) == 4 and result[3]:
            raise GenerationError(_message_of(self._instance.take(result[2])))
        text = self._instance.read_text(result[0], result[1])
        self._instance.free_text(result[0], result[1])
        return text


def _message_of(thrown: Any) -> str:
    text = str(thrown)
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text
