"""What a compensation is given, and what is known of one that is due."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from fastapi_durable.declare.definition import StepDefinition
from fastapi_durable.model.records import Json

Input = TypeVar("Input")
Output = TypeVar("Output")


class Undo(BaseModel, Generic[Input, Output]):
    """The input of a compensation: what the step to be undone was given, and what it returned."""

    input: Input
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """An undo that became due when its step succeeded; with that step's input and output, encoded."""

    seq: int
    step: str
    undo: StepDefinition
    input: Json
    output: Json


def undo_position(seq: int) -> int:
    """The position of the undo of the step at `seq`: negative, and its own."""
    return -seq - 1
