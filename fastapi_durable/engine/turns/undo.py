"""The input of a compensation, and a compensation that is due."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from fastapi_durable.declare.definition import StepDefinition
from fastapi_durable.model.records import Json

Input = TypeVar("Input")
Output = TypeVar("Output")


class Undo(BaseModel, Generic[Input, Output]):
    """The input of a compensation: input and output of the step to undo."""

    input: Input
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """A compensation that became due when its step succeeded, with the encoded input and output of that step."""

    seq: int
    step: str
    undo: StepDefinition
    input: Json
    output: Json


def undo_position(seq: int) -> int:
    """Return the position of the undo of the step at `seq`. It is negative, and unique for the step."""
    return -seq - 1
