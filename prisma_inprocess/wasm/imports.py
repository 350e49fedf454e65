"""The functions that Prisma's modules import from JavaScript, in Python.

Every import is resolved by its stable stem, except where two imports share a stem: there the hash in the name decides,
and a module with an unknown import is refused when it is loaded.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from wasmtime import FuncType

from prisma_inprocess.errors import GenerationError
from prisma_inprocess.wasm import javascript as js
from prisma_inprocess.wasm.javascript import NULL, UNDEFINED, BigInt, Date, JsError, Opaque, RegExp
from prisma_inprocess.wasm.jobs import Promise

if TYPE_CHECKING:
    from prisma_inprocess.wasm.bindgen import BindgenInstance

_HASH = re.compile(r"_[0-9a-f]{16}$")
_UNSIGNED = 0xFFFFFFFF
_NO_SLOT: Final = 0

# Imports that share a stem with another one: what each does can only be told from the whole name.
_BY_FULL_NAME: Final[dict[str, Callable[..., Any]]] = {
    "__wbg_new_e17d9f43105b08be": list,
    "__wbg_new_68651c719dcda04e": dict,  # a Map
    "__wbg_new_1acc0b6eea89d040": dict,  # an Object
    "__wbg_new_5a79be3ab53b8aa5": bytearray,
    "__wbg_next_2c826fe5dfec6b6a": lambda iterator: js.get_property(iterator, "next"),
    "__wbg_next_020810e0ae8ebcb0": lambda iterator: js.get_property(iterator, "next")(),
    "__wbg_now_793306c526e2e3b6": lambda: time.time() * 1000.0,
    "__wbg_now_7fd00a794a07d388": lambda _: time.monotonic() * 1000.0,
    "__wbg_queueMicrotask_5a8a9131f3f0b37b": lambda target: js.get_property(target, "queueMicrotask"),
    "__wbindgen_cast_9ae0607507abb057": BigInt,
    "__wbindgen_cast_4625c577ab2ec9ee": lambda value: BigInt(value & (2**64 - 1)),
    "__wbindgen_cast_d6cd19b81560fd6e": float,
}
# Imports of the schema engine's module that need the instance.
_NEW_ERROR: Final = "__wbg_new_a7442b4b19c1a356"
_NEW_PROMISE: Final = "__wbg_new_3c3d849046688a66"
_NEW_REGEXP: Final = "__wbg_new_23fa8b12a239f036"
_QUEUE_MICROTASK: Final = "__wbg_queueMicrotask_6d79674585219521"
_CAST_CLOSURE: Final = "__wbindgen_cast_a9993887db3ced61"
_CAST_BYTES: Final = "__wbindgen_cast_cb9088102bce6b30"
# What wasm-bindgen expects to throw; an error elsewhere ends the call as a trap.
_MAY_THROW: Final = ("call", "get", "getRandomValues", "has", "next", "randomFillSync", "require", "set")


class _MemoryBytes:
    """A Uint8Array over the module's own memory."""

    def __init__(self, address: int, length: int) -> None:
        self.address = address
        self.length = length

    def __len__(self) -> int:
        return self.length


class Imports:
    """The imported functions of one instance, by the stem of their name."""

    def __init__(self, instance: BindgenInstance) -> None:
        self._instance = instance
        self._global = {"crypto": Opaque("Crypto"), "queueMicrotask": self._queue, "performance": Opaque("Performance")}
        self._by_full_name: dict[str, Callable[..., Any]] = {
            **_BY_FULL_NAME,
            _NEW_ERROR: self._new_error,
            _NEW_PROMISE: self._new_promise,
            _NEW_REGEXP: self._new_regexp,
            _QUEUE_MICROTASK: self._queue,
            _CAST_CLOSURE: instance.closure,
            _CAST_BYTES: _MemoryBytes,
        }
        self._by_stem: dict[str, Callable[..., Any]] = {
            **self._about_values(),
            **self._about_objects(),
            **self._about_the_environment(),
        }

    def resolve(self, name: str, signature: FuncType) -> Callable[..., Any]:
        """The function for an import. Raises: GenerationError for an import that is not known."""
        stem = _HASH.sub("", name).removeprefix("__wbg_").removeprefix("__wbindgen_")
        found = self._by_full_name.get(name)
        if found is None:
            found = _setter(signature) if stem == "set" else self._by_stem.get(stem)
        if found is None:
            raise GenerationError(
                f"the WebAssembly module imports {name!r}, which this version does not know: install the versions of "
                "Prisma's WebAssembly packages that the documentation names"
            )
        return self._catching(found, signature) if stem in _MAY_THROW else found

    def _about_values(self) -> dict[str, Callable[..., Any]]:
        instance = self._instance
        return {
            "Error": self._new_error,
            "Number": float,
            "String": lambda out, value: self._return_text(out, str(value)),
            "bigint_get_as_i64": self._bigint_get,
            "boolean_get": lambda value: int(value) if isinstance(value, bool) else 0xFFFFFF,
            "cast": instance.read_text,
            "debug_string": lambda out, value: self._return_text(out, repr(value)),
            "instanceof_ArrayBuffer": lambda _: 0,
            "instanceof_Map": lambda _: 0,
            "instanceof_Promise": lambda value: int(isinstance(value, Promise)),
            "instanceof_Uint8Array": lambda value: int(isinstance(value, (bytearray, memoryview))),
            "isArray": lambda value: int(isinstance(value, (list, tuple))),
            "isSafeInteger": lambda value: int(_is_safe_integer(value)),
            "is_bigint": lambda value: int(isinstance(value, BigInt)),
            "is_function": lambda value: int(js.is_function(value)),
            "is_object": lambda value: int(js.is_object(value)),
            "is_string": lambda value: int(isinstance(value, str)),
            "is_undefined": lambda value: int(value is None or value is UNDEFINED),
            "jsval_eq": lambda left, right: int(_same(left, right)),
            "jsval_loose_eq": lambda left, right: int(
                (js.is_nullish(left) and js.is_nullish(right)) or _same(left, right)
            ),
            "number_get": self._number_get,
            "string_get": self._string_get,
            "valueOf": lambda value: int(bool(value)),
        }

    def _about_objects(self) -> dict[str, Callable[..., Any]]:
        instance = self._instance
        return {
            "call": lambda function, _this, *arguments: _or_undefined(function(*arguments)),
            "done": lambda step: int(bool(step["done"])),
            "entries": lambda target: [[key, value] for key, value in target.items()],
            "exec": self._exec,
            "get": _get,
            "get_with_ref_key": js.get_property,
            "has": lambda target, key: int(js.get_property(target, key) is not UNDEFINED),
            "in": lambda key, target: int(key in target),
            "length": len,
            "new_from_slice": lambda address, length: bytearray(instance.read_bytes(address, length)),
            "new_with_length": lambda length: bytearray(length & _UNSIGNED),
            "prototypesetcall": lambda address, length, source: instance.write_struct(
                address, f"{length}s", bytes(source)
            ),
            "push": _push,
            "resolve": self._resolved,
            "set_name": self._set_name,
            "subarray": lambda source, start, end: memoryview(source)[start & _UNSIGNED : end & _UNSIGNED],
            "then": lambda promise, *callbacks: promise.then(*callbacks),
            "value": lambda step: step["value"],
            "_wbg_cb_unref": lambda closure: closure.release(),
        }

    def _about_the_environment(self) -> dict[str, Callable[..., Any]]:
        instance = self._instance
        return {
            "crypto": lambda target: js.get_property(target, "crypto"),
            "getRandomValues": self._random_values,
            "getTime": lambda date: date.milliseconds,
            "init_externref_table": instance.init_references,
            "iterator": lambda: js.SYMBOL_ITERATOR,
            "msCrypto": lambda _: UNDEFINED,
            "new_0": Date,
            "new_no_args": lambda _address, _length: lambda *_: self._global,  # it is `return this`
            "node": lambda _: UNDEFINED,
            "process": lambda _: UNDEFINED,
            "randomFillSync": self._random_values,
            "require": _refuse_require,
            "schemaengine_new": float,  # a pointer
            "setTimeout": lambda callback, delay: instance.jobs.set_timer(callback, delay & _UNSIGNED),
            "set_message": lambda address, length: instance.set_panic(instance.read_text(address, length)),
            "static_accessor_GLOBAL": lambda: _NO_SLOT,
            "static_accessor_GLOBAL_THIS": lambda: instance.keep(self._global),
            "static_accessor_SELF": lambda: _NO_SLOT,
            "static_accessor_WINDOW": lambda: _NO_SLOT,
            "throw": self._throw,
            "versions": lambda _: UNDEFINED,
        }

    def _catching(self, function: Callable[..., Any], signature: FuncType) -> Callable[..., Any]:
        results = [str(result) for result in signature.results]
        nothing: Any = None if not results else 0 if results[0] != "anyref" else UNDEFINED

        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except JsError as error:
                self._instance.throw(error)
                return nothing

        return call

    def _return_text(self, out: int, text: str) -> None:
        address, length = self._instance.write_text(text)
        self._instance.write_struct(out, "<II", address, length)

    def _string_get(self, out: int, value: Any) -> None:
        if isinstance(value, str):
            self._return_text(out, value)
        else:
            self._instance.write_struct(out, "<II", 0, 0)

    def _number_get(self, out: int, value: Any) -> None:
        known = js.is_number(value)
        self._instance.write_struct(out, "<IId", int(known), 0, float(value) if known else 0.0)

    def _bigint_get(self, out: int, value: Any) -> None:
        known = isinstance(value, BigInt)
        wrapped = (int(value) + 2**63) % 2**64 - 2**63 if known else 0
        self._instance.write_struct(out, "<IIq", int(known), 0, wrapped)

    def _new_error(self, address: int, length: int) -> JsError:
        return JsError(self._instance.read_text(address, length))

    def _throw(self, address: int, length: int) -> None:
        raise self._new_error(address, length)

    def _set_name(self, error: JsError, address: int, length: int) -> None:
        error.properties["name"] = self._instance.read_text(address, length)

    def _new_regexp(self, pattern: int, pattern_length: int, flags: int, flags_length: int) -> RegExp:
        read = self._instance.read_text
        return RegExp(read(pattern, pattern_length), read(flags, flags_length))

    def _exec(self, expression: RegExp, address: int, length: int) -> int:
        found = expression.exec(self._instance.read_text(address, length))
        return _NO_SLOT if found is None else self._instance.keep(found)

    def _new_promise(self, environment: int, table: int) -> Promise:
        promise = Promise(self._instance.jobs)
        self._instance.call_executor(environment, table, promise.resolve, promise.reject)
        return promise

    def _resolved(self, value: Any) -> Promise:
        if isinstance(value, Promise):
            return value
        promise = Promise(self._instance.jobs)
        promise.resolve(value)
        return promise

    def _queue(self, callback: Callable[[], Any]) -> None:
        self._instance.jobs.add(callback)

    def _random_values(self, _crypto: Any, target: Any) -> None:
        random = secrets.token_bytes(len(target))
        if isinstance(target, _MemoryBytes):
            self._instance.write_struct(target.address, f"{len(random)}s", random)
        else:
            target[:] = random


def _setter(signature: FuncType) -> Callable[..., Any]:
    results = [str(result) for result in signature.results]
    if results == ["i32"]:
        return lambda target, key, value: int(js.set_property(target, key, value))
    if results:  # Map.prototype.set returns the map
        return _set_in_map
    if any(str(parameter) == "i32" for parameter in signature.params):
        return _set_in_array
    return _set_in_object


def _get(target: Any, key: Any) -> Any:
    return (
        target[key & _UNSIGNED] if isinstance(key, int) and not isinstance(key, bool) else js.get_property(target, key)
    )


def _same(left: Any, right: Any) -> bool:
    """JavaScript's `===`: a value that is not a primitive equals only itself."""
    if isinstance(left, (str, int, float)) and isinstance(right, (str, int, float)):
        return isinstance(left, bool) == isinstance(right, bool) and left == right
    return left is right or (left is None and right is UNDEFINED) or (left is UNDEFINED and right is None)


def _or_undefined(value: Any) -> Any:
    return UNDEFINED if value is None else value


def _refuse_require() -> Any:
    raise JsError("require is not available")


def _is_safe_integer(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return float(value).is_integer() and abs(value) <= 2**53 - 1


def _push(target: list[Any], value: Any) -> int:
    target.append(value)
    return len(target)


def _set_in_map(target: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    target[key] = value
    return target


def _set_in_object(target: dict[Any, Any], key: Any, value: Any) -> None:
    target[key] = value


def _set_in_array(target: list[Any], index: int, value: Any) -> None:
    position = index & _UNSIGNED
    while len(target) <= position:
        target.append(UNDEFINED)
    target[position] = NULL if value is None else value
