"""What the codec stores, it gives back; what no database can hold, it refuses before anything is written."""

import dataclasses
import enum
import json
import math
import re
import traceback
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, Field, computed_field, field_serializer

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.model.errors import DefinitionError, SerializationError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**4096) + 1, 2**4096 - 1)
ALONE = st.integers(-(2**63), 2**63 - 1)
JSON = (
    st.none()
    | st.booleans()
    | ALONE
    | FINITE
    | TEXT
    | st.lists(
        st.recursive(
            st.none() | st.booleans() | INTEGERS | FINITE | TEXT,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
            max_leaves=20,
        ),
        max_size=4,
    )
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Line(BaseModel):
    sku: str
    quantity: int


class Order(BaseModel):
    id: uuid.UUID
    placed_at: datetime
    day: date
    lines: list[Line]
    total: Decimal
    patience: timedelta
    colour: Colour
    tags: set[str]
    point: Point
    note: str | None = None
    camel: int = Field(alias="camelCase")


ORDERS = st.builds(
    Order,
    id=st.uuids(),
    placed_at=st.datetimes(timezones=st.just(UTC)),
    day=st.dates(),
    lines=st.lists(st.builds(Line, sku=TEXT, quantity=st.integers()), max_size=3),
    total=st.decimals(allow_nan=False, allow_infinity=False),
    patience=st.timedeltas(timedelta(days=-100), timedelta(days=100)),
    colour=st.sampled_from(Colour),
    tags=st.frozensets(TEXT, max_size=3),
    point=st.builds(Point, FINITE, FINITE),
    note=st.none() | TEXT,
    camelCase=st.integers(),
)


def _stored(value: Any, declared: Any) -> Any:
    """The value's way through a database column and back to its JSON form."""
    encoded = Codec().encode(value, declared, what="a value")
    return json.loads(json.dumps(encoded, allow_nan=False))


@given(JSON)
def test_a_json_value_comes_back_as_it_was(value: Any) -> None:
    assert Codec().decode(_stored(value, Any), Any, what="a value") == value


@given(ORDERS)
@settings(max_examples=50)
def test_a_model_comes_back_as_it_was(order: Order) -> None:
    assert Codec().decode(_stored(order, Order), Order, what="an order") == order


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (5, int),
        (5, float),
        (True, bool),
        ("text", str),
        (b"bytes", bytes),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        ({1: "a"}, dict[int, str]),
        (Colour.RED, Colour),
        (Point(1, 2), Point),
        (None, None),
        (None, NoInput),
        (None, int | None),
        ("on", Literal["on", "off"]),
        (Decimal("1.10"), Decimal),
        (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), datetime),
        ([Line(sku="a", quantity=1)], list[Line]),
        ([2**100], list[int]),
        (2**63 - 1, int),
        (-(2**63), int),
    ],
)
def test_a_value_of_each_kind_comes_back_with_its_type(value: Any, declared: Any) -> None:
    decoded = Codec().decode(_stored(value, declared), declared, what="a value")
    assert decoded == value
    assert decoded is None or type(decoded) is type(value) or declared is float


@given(JSON)
def test_what_is_decoded_stays_the_same_however_often_it_is_stored(value: Any) -> None:
    """A first run sees the decoded form of what it stores, a replay that of what was stored: both are this one."""
    codec = Codec()
    first = codec.decode(codec.encode((value, [value]), Any, what="a value"), Any, what="a value")
    again = codec.decode(codec.encode(first, Any, what="a value"), Any, what="a value")
    assert again == first


POISON: dict[str, Any] = {
    "nan": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "nul": "a\x00b",
    "surrogate": "\ud800",
    "huge": 10**5000,
    "hugely negative": -(10**5000),
    "object": object(),
    "function": len,
    "bytes that are no text": b"\xff",
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "bare": lambda poison: poison,
    "an item": lambda poison: [1, poison],
    "a value": lambda poison: {"a": poison},
    "deep inside": lambda poison: {"a": [[{"b": [poison]}]]},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("poison", POISON)
def test_what_no_database_can_hold_is_refused_wherever_it_stands(poison: str, place: str) -> None:
    with pytest.raises(SerializationError, match="the result of the test cannot be stored"):
        Codec().encode(PLACES[place](POISON[poison]), Any, what="the result of the test")


@pytest.mark.parametrize("key", ["a\x00b", "\ud800"])
def test_a_key_that_no_database_can_hold_is_refused(key: str) -> None:
    with pytest.raises(SerializationError):
        Codec().encode([{key: 1}], Any, what="a value")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("declared", [float, list[float], dict[str, float], Point, float | None])
def test_a_number_that_json_does_not_have_is_refused_for_declared_types_too(number: float, declared: Any) -> None:
    value = {list[float]: [number], dict[str, float]: {"a": number}, Point: Point(1, number)}.get(declared, number)
    with pytest.raises(SerializationError, match="cannot be stored"):
        Codec().encode(value, declared, what="a value")


@given(st.integers(0, 400))
@settings(max_examples=60)
def test_nesting_is_either_refused_or_read_again(depth: int) -> None:
    """Accepted and then unreadable would be the end of the run that has stored it."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    codec = Codec()
    try:
        encoded = codec.encode(value, Any, what="a value")
    except SerializationError:
        assert depth > 100
    else:
        assert codec.decode(encoded, Any, what="a value") == value


@given(st.integers(1, 9000).map(lambda digits: 10**digits))
@settings(max_examples=40)
def test_an_integer_is_either_refused_or_read_again(number: int) -> None:
    codec = Codec()
    try:
        encoded = codec.encode([number], Any, what="a value")
    except SerializationError:
        assert number > 10**1000
    else:
        assert codec.decode(encoded, list[int], what="a value") == [number]


@pytest.mark.parametrize("declared", [int, Any, int | None, Annotated[int, Field(gt=-(10**500))]])
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**400])
def test_an_integer_that_sqlite_would_round_is_refused_where_it_stands_alone(number: int, declared: Any) -> None:
    with pytest.raises(SerializationError, match=r"between -2\*\*63 and 2\*\*63 - 1"):
        Codec().encode(number, declared, what="a value")


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(SerializationError):
        Codec().encode(circle, Any, what="a value")


class Computed(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def broken(self) -> int:
        raise KeyError("no value")


class Serialised(BaseModel):
    number: int = 1

    @field_serializer("number")
    def broken(self, number: int) -> int:
        raise ZeroDivisionError


def _look_up(value: Any) -> Any:
    raise LookupError(f"secret {value}")


@pytest.mark.parametrize("model", [Computed, Serialised])
def test_whatever_a_serialiser_raises_is_a_serialization_error(model: type[BaseModel]) -> None:
    with pytest.raises(SerializationError, match="cannot be stored"):
        Codec().encode(model(), model, what="a value")


def test_whatever_a_validator_raises_is_a_serialization_error_without_the_value() -> None:
    declared = Annotated[int, BeforeValidator(_look_up)]
    with pytest.raises(SerializationError, match="its validation raised LookupError") as caught:
        Codec().decode(4242, declared, what="a value")
    assert "4242" not in str(caught.value)


def test_a_value_of_another_type_than_declared_is_refused() -> None:
    for value, declared in [("a", int), ([1, "a"], list[int]), (5, None), ("green", Colour)]:
        with pytest.raises(SerializationError):
            Codec().encode(value, declared, what="a value")


def test_an_error_of_decoding_names_the_places_and_not_the_values() -> None:
    with pytest.raises(SerializationError) as caught:
        Codec().decode([{"sku": "4242", "quantity": "many"}] * 7, list[Line], what="the lines")
    message = str(caught.value)
    assert message.startswith("the lines does not fit list")
    assert "0.quantity: " in message
    assert "and 2 more" in message
    assert "4242" not in message
    assert "many" not in message


@pytest.mark.parametrize("declared", [Annotated[int, {"not": "hashable"}], Annotated[list[int], [1]]])
def test_a_type_whose_annotation_is_not_hashable_works_too(declared: Any) -> None:
    value: Any = 1 if "int, " in str(declared) else [1]
    assert Codec().decode(_stored(value, declared), declared, what="a value") == value


def test_a_type_that_pydantic_does_not_know_is_a_definition_error() -> None:
    class Unknown: ...

    with pytest.raises(DefinitionError, match="Unknown"):
        Codec().adapter(Unknown)


def test_adapters_are_built_once_a_type() -> None:
    codec = Codec()
    assert codec.adapter(list[int]) is codec.adapter(list[int])


def test_no_value_is_shown_by_the_trace_of_a_refusal() -> None:
    """What is stored of an error holds its trace, and everybody who may see a run sees that."""

    class Card(BaseModel):
        number: str
        limit: int

    with pytest.raises(SerializationError) as decoding:
        Codec().decode({"number": "4242"}, Card, what="a card")
    wrong = Card.model_construct(number="4242", limit="4343")
    with pytest.raises(SerializationError, match="stored as Card") as encoding:
        Codec().encode(wrong, Card, what="a card")
    for caught in (decoding, encoding):
        assert not re.search("4242|4343", "".join(traceback.format_exception(caught.value)).rpartition("File")[2])


class Handmade:
    """Nothing that pydantic knows."""


@pytest.mark.parametrize("declared", [Handmade, list[Handmade]])
def test_a_type_without_a_schema_is_refused_with_what_to_use_and_without_advice_that_leads_nowhere(
    declared: Any,
) -> None:
    """`arbitrary_types_allowed`, which pydantic proposes, makes no value storable."""
    with pytest.raises(DefinitionError, match=r"Handmade.*Take and return JSON values") as caught:
        Codec().adapter(declared)
    assert "arbitrary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_not_what_was_declared_is_refused_in_one_line_with_both_types() -> None:
    """The annotation is wrong, or the value; not the way in which values are stored."""
    with pytest.raises(
        SerializationError, match=r"a value cannot be stored as int, its declared type: .*str"
    ) as caught:
        Codec().encode("seven", int, what="a value")
    assert "\n" not in str(caught.value)
    assert "seven" not in str(caught.value)
