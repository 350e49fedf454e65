"""A value that would come back as another one, without an error from pydantic, is refused with its place."""

import dataclasses
import enum
import logging
import math
import uuid
from collections import OrderedDict, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    StringConstraints,
    field_serializer,
    model_serializer,
)

from fastapi_durable.declare.codec import Codec
from fastapi_durable.model.errors import SerializationError
from tests.unit.test_codec import _stored


class Animal(BaseModel):
    name: str


class Dog(Animal):
    tricks: list[str] = []


class Cat(BaseModel):
    name: str


class Bird(BaseModel):
    name: str


class Loose(BaseModel):
    anything: Any = None
    table: dict[str, Any] = {}


class Hidden(BaseModel):
    shown: int = 0
    hidden: int = Field(default=0, exclude=True)


class Blob(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    data: bytes


class SafeBlob(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Rounded(BaseModel):
    price: float

    @field_serializer("price")
    def round_price(self, price: float) -> float:
        return round(price, 1)


@dataclasses.dataclass
class Point:
    x: int = 0


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


class Dogs(RootModel[list[Animal]]): ...


CHANGED: dict[str, tuple[Any, Any, str]] = {
    "a subclass": (Animal, Dog(name="a", tricks=["sit"]), "tricks: it is lost"),
    "a subclass in a list": (list[Animal], [Animal(name="a"), Dog(name="b")], "1.tricks: it is lost"),
    "a subclass in a root model": (Dogs, Dogs([Dog(name="b")]), "0.tricks: it is lost"),
    "a dataclass's subclass": (dict[str, Point], {"p": Point3(1, 2)}, "p.z: it is lost"),
    "one model that reads as another": (Cat | Bird, Bird(name="a"), "value: Bird comes back as Cat"),
    "NaN in an Any": (Loose, Loose(anything=math.nan), "anything: float comes back as None"),
    "infinity deep in an Any": (Loose, Loose(table={"a": [1, {"b": math.inf}]}), "table.a.1.b: float comes back as"),
    "NaN in a model in an Any": (Any, {"row": Loose(anything=math.nan)}, "row.anything: float comes back as None"),
    "an excluded field": (Hidden, Hidden(hidden=4242), "hidden: it changes"),
    "an excluded field in an Any": (Any, [Hidden(hidden=4242)], "0.hidden: it is lost"),
    "bytes that are written and read differently": (Blob, Blob(data=b"4242"), "data: it changes"),
    "keys that become one": (dict[Any, Any], {1: "a", "1": "b"}, "value: 2 keys become 1"),
    "keys that become one in an Any": (Any, {"a": {1: "a", "1": "b"}}, "a: 2 keys become 1"),
    "keys that become one in a union": (dict[int | str, str], {1: "a", "1": "b"}, "value: 2 keys become 1"),
    "a key that is a tuple": (Any, {(1, 2): 3}, "value: a key that is a tuple comes back as a text"),
    "a serializer that rounds": (Rounded, Rounded(price=42.42), "price: it changes"),
    "a set of models": (frozenset[Point3] | list[Point], [Point3(1, 2)], "0.z: it is lost"),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_value_that_would_change_is_refused_with_its_place(kind: str) -> None:
    declared, value, change = CHANGED[kind]
    with pytest.raises(SerializationError) as caught:
        Codec().encode(value, declared, what="a value")
    assert change in str(caught.value)
    assert "42" not in str(caught.value)
    assert caught.value.misfit


@pytest.mark.parametrize("kind", ["a subclass", "an excluded field"])
def test_it_is_refused_as_a_given_value_too_although_its_json_form_would_fit(kind: str) -> None:
    declared, value, change = CHANGED[kind]
    with pytest.raises(SerializationError, match=change):
        Codec().encode_given(value, declared, what="a value")


class Colour(enum.Enum):
    RED = "red"


class ByIdentity:
    """Compares by identity, as most classes of applications do."""


class Cached(BaseModel):
    x: int
    _seen: int = PrivateAttr(default=0)


class Aliased(BaseModel):
    camel: int = Field(alias="camelCase")
    inner: Any = None


class Loud(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 1


class AsText(BaseModel):
    x: int

    @model_serializer
    def text(self) -> str:
        return str(self.x)


class Raises(BaseModel):
    x: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = None  # type: ignore[assignment]


class Pair(NamedTuple):
    a: int
    b: Any


def _cached() -> Cached:
    cached = Cached(x=1)
    cached._seen = 7
    return cached


UNCHANGED: dict[str, tuple[Any, Any]] = {
    "a subclass that adds no fields": (Animal, type("Quiet", (Animal,), {})(name="a")),
    "a subclass that is written whole": (SerializeAsAny[Animal] | Any, Animal(name="a")),
    "a private attribute, which is no field": (Cached, _cached()),
    "an excluded field that has its default": (Hidden, Hidden(shown=4)),
    "bytes that are written and read in the same way": (SafeBlob, SafeBlob(data=b"\xff")),
    "a text that the type strips": (Annotated[str, StringConstraints(strip_whitespace=True)], " a "),
    "a tuple in an Any": (Any, (1, [2], {"a": (3,)})),
    "a set in an Any": (Any, {1, 2}),
    "a date in an Any": (Any, [datetime(2026, 1, 1, tzinfo=UTC), uuid.uuid4(), Decimal("1.1"), Colour.RED]),
    "a model in an Any": (Any, Aliased(camelCase=1, inner=Point3(1, 2))),
    "extra fields in an Any": (Any, Loud.model_validate({"y": 2})),
    "extra fields": (Loud, Loud.model_validate({"y": 2})),
    "a model with a serializer of its own in an Any": (Any, AsText(x=1)),
    "numbers as keys in an Any": (Any, {1: "a", 2.5: "b"}),
    "an hour that the clock passes twice": (
        datetime,
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    ),
    "an integer for a float": (float, 5),
    "an ordered dict": (dict[str, int], OrderedDict(a=1)),
    "a deque": (deque[int], deque([1])),
    "a named tuple": (Pair, Pair(1, (2,))),
    "a duration": (timedelta, timedelta(microseconds=1)),
    "a value that cannot be compared": (Raises, Raises(x=1)),
}


@pytest.mark.parametrize("kind", UNCHANGED)
def test_what_comes_back_whole_is_stored(kind: str) -> None:
    declared, value = UNCHANGED[kind]
    codec = Codec()
    first = codec.decode(_stored(value, declared), declared, what="a value")
    again = codec.decode(_stored(first, declared), declared, what="a value")
    assert repr(again) == repr(first)


class Login(BaseModel):
    user: str
    password: SecretStr = Field(alias="pass_word", min_length=5)
    keys: dict[str, list[Secret[int]]] = {}
    raw: SecretBytes = SecretBytes(b"")


LOGIN = Login.model_validate({"user": "ada", "pass_word": "swordfish", "keys": {"a": [4242]}, "raw": b"4343"})


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (Login, LOGIN),
        (list[Login], [LOGIN]),
        (SecretStr, SecretStr("swordfish")),
        (RootModel[SecretStr], RootModel[SecretStr](SecretStr("swordfish"))),
        (SecretStr | None, SecretStr("**********")),
        (SecretStr, SecretStr("")),
    ],
)
def test_a_secret_comes_back_as_it_was(declared: Any, value: Any) -> None:
    assert Codec().decode(_stored(value, declared), declared, what="a login") == value


def test_a_secret_in_an_any_is_stored_whole() -> None:
    assert _stored({"as": [LOGIN]}, Any)["as"][0] == {
        "user": "ada",
        "pass_word": "swordfish",
        "keys": {"a": [4242]},
        "raw": "4343",
    }


def test_a_secret_that_is_stored_readable_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    codec = Codec()
    with caplog.at_level(logging.WARNING, "fastapi_durable"):
        for _ in range(3):
            codec.encode(LOGIN, Login, what="the input of workflow 'sign_in'")
    (record,) = caplog.records
    assert "the input of workflow 'sign_in' contains a secret (password, keys.a.0, raw)" in record.getMessage()
    assert "swordfish" not in record.getMessage()


class Sealed(BaseModel):
    password: SecretStr

    @field_serializer("password", when_used="json")
    def seal(self, password: SecretStr) -> str:
        return password.get_secret_value()


def test_a_secret_that_its_model_writes_itself_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    sealed = Sealed(password=SecretStr("swordfish"))
    assert Codec().decode(_stored(sealed, Sealed), Sealed, what="a value") == sealed
    assert caplog.records == []


class Starred(BaseModel):
    password: SecretStr

    @model_serializer
    def stars(self) -> dict[str, str]:
        return {"password": "secret: **********"}


def test_a_secret_that_cannot_be_written_in_full_is_refused() -> None:
    with pytest.raises(SerializationError, match="password: SecretStr comes back masked"):
        Codec().encode(Starred(password=SecretStr("swordfish")), Starred, what="a value")
