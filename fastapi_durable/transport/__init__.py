"""Transports: how the attempts of a step reach what executes them."""

from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask, Transport

__all__ = ["StepHandler", "StepOutcome", "StepTask", "Transport"]
