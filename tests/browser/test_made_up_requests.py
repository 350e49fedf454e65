"""Schemathesis reads the OpenAPI document and sends what it allows, and what it does not."""

import asyncio
import sys

import pytest
from fastapi import FastAPI

from tests.browser.conftest import serving
from tests.browser.shop import seed, shop

pytestmark = [pytest.mark.console, pytest.mark.timeout(300)]


async def test_every_answer_is_one_that_the_document_promises() -> None:
    """No 500, no undocumented status, media type or shape; the streams, which last, are tested elsewhere."""
    module = shop()
    app = FastAPI(lifespan=module.lifespan)
    app.include_router(module.router(allow_unauthenticated=True), prefix="/durable")
    async with serving(app) as address:
        await seed(module.runtime(app))
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
            *("--max-examples", "25", "--seed", "7", "--suppress-health-check", "all", "--no-color"),
            *("--exclude-operation-id", "streamRuns", "--exclude-operation-id", "streamRun"),
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 240)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, output.decode()[-8000:]
