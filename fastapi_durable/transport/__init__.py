"""Transports: they carry the attempts of steps to the process that executes them."""

from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask, Transport

__all__ = ["StepHandler", "StepOutcome", "StepTask", "Transport"]
