"""A type has a name by which another process finds it again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, TypeVar, Union

import pytest
from pydantic import AfterValidator, BaseModel, Field

from fastapi_durable.declare.type_names import find_type, type_name
from fastapi_durable.model.records import Json

T = TypeVar("T")


class Model(BaseModel):
    class Inner(BaseModel):
        pass


@dataclass
class Data:
    number: int


class Fields(TypedDict):
    number: int


class Color(Enum):
    RED = "red"


UserId = NewType("UserId", int)


def positive(value: int) -> int:
    return value


@pytest.mark.parametrize(
    "declared",
    [
        int,
        Any,
        datetime,
        Decimal,
        Model,
        Model.Inner,
        Data,
        Fields,
        Color,
        UserId,
        list[Model],
        dict[str, list[Data]],
        tuple[int, str],
        tuple[int, ...],
        Optional[Model],  # noqa: UP045
        Union[int, str],  # noqa: UP007
        Model | Data | None,
        Literal["a", 1, True],
        list[Literal["a"] | None],
        Annotated[int, AfterValidator],
    ],
    ids=str,
)
def test_a_type_is_found_by_its_name(declared: Any) -> None:
    name = type_name(declared)
    assert name is not None
    assert find_type(json.loads(json.dumps(name))) == declared


def test_none_is_found_as_its_type() -> None:
    assert find_type(type_name(None)) is type(None)


def local() -> Any:
    class Local(BaseModel):
        pass

    return Local


@pytest.mark.parametrize(
    "declared",
    [
        local(),
        list[local()],  # type: ignore[misc] # a type that is known at run time only
        Annotated[int, Field(gt=0)],
        Annotated[int, AfterValidator(positive)],
        Literal[Color.RED],
        Callable[[int], str],
        T,
    ],
    ids=["local", "list of local", "metadata", "metadata of a function", "literal of an enum", "callable", "variable"],
)
def test_a_type_that_cannot_be_found_by_a_name_has_none(declared: Any) -> None:
    assert type_name(declared) is None


@pytest.mark.parametrize(
    "name",
    [
        None,
        5,
        {},
        [],
        "",
        ":",
        "int",
        "builtins:",
        "builtins:nothing",
        "no_such_module:Thing",
        "antigravity:anything",
        ["union", []],
        ["union", ["no:Thing"]],
        ["builtins:int", ["builtins:int"]],
        ["literal", []],
        [["union"], ["builtins:int"]],
    ],
    ids=str,
)
def test_a_name_that_somebody_else_stored_finds_nothing(name: Json) -> None:
    assert find_type(name) is None
