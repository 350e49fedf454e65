"""The JavaScript side of wasm-bindgen, in Python.

Prisma's modules are built for JavaScript: they receive and build values (objects, arrays, maps, strings) through
imported functions, and hold them in a table of external references. Here those functions build Python values instead.
Every import is resolved by its stable stem, except where two imports share a stem: there the hash in the name
decides, and a module with an unknown import is refused when it is loaded.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from wasmtime import Engine, Func, FuncType, Linker, Memory, Module, Store, Table

from prisma_inprocess.errors import GenerationError

_HASH = re.compile(r"_[0-9a-f]{16}$")
_UNSIGNED = 0xFFFFFFFF


class _Singleton:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


# Neither may be Python's None: wasmtime turns None into a null reference, which is a third thing.
UNDEFINED: Final = _Singleton("undefined")
NULL: Final = _Singleton("null")


class WasmFailure(Exception):
    """The module threw or panicked; `value` is what it threw."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


class _ThrownError(Exception):
    """A JavaScript `Error` object that the module built."""


class _Date:
    def __init__(self) -> None:
        self.milliseconds = time.time() * 1000.0


class _BigInt(int):
    """A JavaScript bigint: an integer that is not a `number`."""


def to_python(value: Any) -> Any:
    """A value built by the module as plain Python data.

    JavaScript has one number type, so every number arrives as a double: integral ones become `int` again. Keys that
    are undefined disappear.
    """
    if value is NULL or value is UNDEFINED:
        return None
    if isinstance(value, dict):
        return {key: to_python(item) for key, item in value.items() if item is not UNDEFINED}
    if isinstance(value, list):
        return [to_python(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, _BigInt):
        return int(value)
    return value


class BindgenInstance:
    """One instance of a wasm-bindgen module. Not thread-safe: its owner serialises the calls."""

    def __init__(self, engine: Engine, module: Module) -> None:
        self._store = Store(engine)
        self._panic: str | None = None
        linker = Linker(engine)
        functions = _JavaScript(self)
        for item in module.imports:
            signature = item.type
            if not isinstance(signature, FuncType):
                raise GenerationError(f"the WebAssembly module imports {item.name!r}, which is not a function")
            name = str(item.name)
            implementation = functions.resolve(name, signature)
            linker.define(self._store, item.module, name, Func(self._store, signature, implementation))
        self.exports = linker.instantiate(self._store, module).exports(self._store)
        memory, table = self.exports["memory"], self.exports["__wbindgen_externrefs"]
        if not isinstance(memory, Memory) or not isinstance(table, Table):
            raise GenerationError("the WebAssembly module has no memory or no reference table")
        self._memory: Memory = memory
        self._table: Table = table
        self.call("__wbindgen_start")

    def call(self, name: str, *arguments: Any) -> Any:
        """Call an export. Raises: WasmFailure if the module panicked or threw."""
        function = self.exports[name]
        if not isinstance(function, Func):
            raise GenerationError(f"the WebAssembly module has no function {name!r}")
        self._panic = None
        try:
            return function(self._store, *arguments)
        except _ThrownError as error:
            raise WasmFailure(str(error)) from None
        except Exception as error:
            raise WasmFailure(self._describe(error)) from error

    def _describe(self, error: Exception) -> str:
        """The panic's own message where there is one: a trap says only that code was reached that should not be."""
        return self._panic or str(error).partition("\n")[0] or type(error).__name__

    def write_text(self, text: str) -> tuple[int, int]:
        """Copy text into the module's memory. Returns its address and its length in bytes; the module frees it."""
        data = text.encode()
        function = self.exports["__wbindgen_malloc"]
        if not isinstance(function, Func):
            raise GenerationError("the WebAssembly module has no allocator")
        address = int(function(self._store, len(data), 1)) & _UNSIGNED
        self._memory.write(self._store, data, address)
        return address, len(data)

    def read_bytes(self, address: int, length: int) -> bytes:
        start = address & _UNSIGNED
        return bytes(self._memory.read(self._store, start, start + (length & _UNSIGNED)))

    def read_text(self, address: int, length: int) -> str:
        return self.read_bytes(address, length).decode()

    def free_text(self, address: int, length: int) -> None:
        self.call("__wbindgen_free", address, length, 1)

    def take(self, index: int) -> Any:
        """Take a value out of the reference table, freeing its slot."""
        value = self._table.get(self._store, index)
        self.call("__externref_table_dealloc", index)
        return value

    def write_struct(self, address: int, layout: str, *values: Any) -> None:
        self._memory.write(self._store, struct.pack(layout, *values), address & _UNSIGNED)

    def init_references(self) -> None:
        """What wasm-bindgen's glue does first: slots for undefined, null, true and false."""
        table = self.exports["__wbindgen_externrefs"]
        if not isinstance(table, Table):
            raise GenerationError("the WebAssembly module has no reference table")
        first = table.grow(self._store, 4, None)
        table.set(self._store, 0, UNDEFINED)
        for offset, value in enumerate((UNDEFINED, NULL, True, False)):
            table.set(self._store, first + offset, value)

    def set_panic(self, message: str) -> None:
        self._panic = message


# Imports that share a stem with another one: what each does can only be told from the whole name.
_BY_FULL_NAME: Final[dict[str, Callable[..., Any]]] = {
    "__wbg_new_e17d9f43105b08be": list,
    "__wbg_new_68651c719dcda04e": dict,  # a Map
    "__wbg_new_1acc0b6eea89d040": dict,  # an Object
    "__wbg_new_5a79be3ab53b8aa5": bytearray,
    "__wbindgen_cast_9ae0607507abb057": _BigInt,
    "__wbindgen_cast_4625c577ab2ec9ee": lambda value: _BigInt(value & (2**64 - 1)),
    "__wbindgen_cast_d6cd19b81560fd6e": float,
}


def _is_nullish(value: Any) -> bool:
    return value is None or value is UNDEFINED or value is NULL


class _JavaScript:
    """The imported functions, by the stem of their name."""

    def __init__(self, instance: BindgenInstance) -> None:
        self._instance = instance
        self._by_stem: dict[str, Callable[..., Any]] = {
            "Error": lambda address, length: _ThrownError(instance.read_text(address, length)),
            "Number": float,
            "String": lambda out, value: self._return_text(out, str(value)),
            "boolean_get": lambda value: int(value) if isinstance(value, bool) else 0xFFFFFF,
            "debug_string": lambda out, value: self._return_text(out, repr(value)),
            "in": lambda key, target: int(key in target),
            "is_object": lambda value: int(isinstance(value, (dict, list, _Date))),
            "is_string": lambda value: int(isinstance(value, str)),
            "is_undefined": lambda value: int(value is None or value is UNDEFINED),
            "jsval_loose_eq": lambda left, right: int((_is_nullish(left) and _is_nullish(right)) or left == right),
            "number_get": self._number_get,
            "string_get": self._string_get,
            "throw": self._throw,
            "entries": lambda target: [[key, value] for key, value in target.items()],
            "getTime": lambda date: date.milliseconds,
            "get": lambda target, index: target[index & _UNSIGNED],
            "get_with_ref_key": lambda target, key: (
                target.get(key, UNDEFINED) if isinstance(target, dict) else UNDEFINED
            ),
            "instanceof_ArrayBuffer": lambda _: 0,
            "instanceof_Uint8Array": lambda value: int(isinstance(value, bytearray)),
            "isSafeInteger": lambda value: int(_is_safe_integer(value)),
            "length": len,
            "new_0": _Date,
            "prototypesetcall": lambda address, length, source: instance.write_struct(
                address, f"{length}s", bytes(source)
            ),
            "set_message": lambda address, length: instance.set_panic(instance.read_text(address, length)),
            "init_externref_table": instance.init_references,
            "cast": instance.read_text,
        }

    def resolve(self, name: str, signature: FuncType) -> Callable[..., Any]:
        if name in _BY_FULL_NAME:
            return _BY_FULL_NAME[name]
        stem = _HASH.sub("", name).removeprefix("__wbg_").removeprefix("__wbindgen_")
        if stem == "set":
            return self._setter(signature)
        found = self._by_stem.get(stem)
        if found is None:
            raise GenerationError(
                f"the WebAssembly module imports {name!r}, which this version does not know: install the versions of "
                "@prisma/query-compiler-wasm and @prisma/prisma-schema-wasm that the documentation names"
            )
        return found

    @staticmethod
    def _setter(signature: FuncType) -> Callable[..., Any]:
        if signature.results:  # Map.prototype.set returns the map
            return _set_in_map
        if any(str(parameter) == "i32" for parameter in signature.params):
            return _set_in_array
        return _set_in_object

    def _return_text(self, out: int, text: str) -> None:
        address, length = self._instance.write_text(text)
        self._instance.write_struct(out, "<II", address, length)

    def _string_get(self, out: int, value: Any) -> None:
        if isinstance(value, str):
            self._return_text(out, value)
        else:
            self._instance.write_struct(out, "<II", 0, 0)

    def _number_get(self, out: int, value: Any) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, (bool, _BigInt))
        self._instance.write_struct(out, "<IId", int(is_number), 0, float(value) if is_number else 0.0)

    def _throw(self, address: int, length: int) -> None:
        raise _ThrownError(self._instance.read_text(address, length))


def _is_safe_integer(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return float(value).is_integer() and abs(value) <= 2**53 - 1


def _set_in_map(target: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    target[key] = value
    return target


def _set_in_object(target: dict[Any, Any], key: Any, value: Any) -> None:
    target[key] = value


def _set_in_array(target: list[Any], index: int, value: Any) -> None:
    position = index & _UNSIGNED
    while len(target) <= position:
        target.append(UNDEFINED)
    target[position] = value
