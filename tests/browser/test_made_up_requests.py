"""Schemathesis reads the OpenAPI document and sends what it allows, and what it does not."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.browser.conftest import the_example

pytestmark = [pytest.mark.console, pytest.mark.timeout(600)]


async def test_every_answer_is_one_that_the_document_promises(seeded_url: str, tmp_path: Path) -> None:
    """No 500, no undocumented status, media type or shape; the streams, which last, are tested elsewhere."""
    async with the_example(seeded_url, tmp_path) as address:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "run",
                f"{address}/openapi.json",
                "--phases",
                "examples,fuzzing",
            ),
            *("--include-path-regex", "^/durable/"),
            *("--max-examples", "25", "--seed", "7", "--suppress-health-check", "all", "--no-color"),
            *("--exclude-operation-id", "streamRuns", "--exclude-operation-id", "streamRun"),
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 540)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, output.decode()[-8000:]
