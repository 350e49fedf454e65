"""One instance of a module that wasm-bindgen built for JavaScript: calls, memory, and the table of references.

Such a module receives and builds values (objects, arrays, maps, strings) through imported functions, and holds them
in a table of external references. Here those functions (`imports.py`) build Python values instead.
"""

from __future__ import annotations

import struct
from typing import Any

from wasmtime import Engine, Func, FuncType, Linker, Memory, Module, Store, Table

from prisma_inprocess.errors import GenerationError
from prisma_inprocess.wasm.imports import Imports
from prisma_inprocess.wasm.javascript import NULL, UNDEFINED, JsError
from prisma_inprocess.wasm.jobs import Closure, Jobs

_UNSIGNED = 0xFFFFFFFF
_FREE = "closure__destroy"
_INVOKE = "convert__closures_____invoke"


class WasmFailure(Exception):
    """The module threw or panicked; `value` is what it threw."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


class BindgenInstance:
    """One instance of a wasm-bindgen module. Not thread-safe: its owner serialises the calls."""

    def __init__(self, engine: Engine, module: Module) -> None:
        self._store = Store(engine)
        self._panic: str | None = None
        self.jobs = Jobs()
        linker = Linker(engine)
        imports = Imports(self)
        for item in module.imports:
            signature = item.type
            if not isinstance(signature, FuncType):
                raise GenerationError(f"the WebAssembly module imports {item.name!r}, which is not a function")
            name = str(item.name)
            implementation = imports.resolve(name, signature)
            linker.define(self._store, item.module, name, Func(self._store, signature, implementation))
        self.exports = linker.instantiate(self._store, module).exports(self._store)
        memory, table = self.exports["memory"], self.exports["__wbindgen_externrefs"]
        if not isinstance(memory, Memory) or not isinstance(table, Table):
            raise GenerationError("the WebAssembly module has no memory or no reference table")
        self._memory: Memory = memory
        self._table: Table = table
        # Functions that the module gives away: by the number of values that each of them is called with.
        self._invokers = {
            len(list(item.type.params)) - 2: str(item.name)
            for item in module.exports
            if isinstance(item.type, FuncType) and _INVOKE in str(item.name)
        }
        self._destroyer = next((str(item.name) for item in module.exports if _FREE in str(item.name)), "")
        self.call("__wbindgen_start")

    def call(self, name: str, *arguments: Any) -> Any:
        """Call an export. Raises: WasmFailure if the module panicked or threw."""
        function = self.exports[name]
        if not isinstance(function, Func):
            raise GenerationError(f"the WebAssembly module has no function {name!r}")
        self._panic = None
        try:
            return function(self._store, *arguments)
        except JsError as error:
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

    def keep(self, value: Any) -> int:
        """Put a value into the reference table. Returns its slot, which the module frees."""
        function = self.exports["__externref_table_alloc"]
        if not isinstance(function, Func):
            raise GenerationError("the WebAssembly module has no reference table")
        index = int(function(self._store))
        self._table.set(self._store, index, value)
        return index

    def throw(self, value: Any) -> None:
        """Have the import that is under way throw a value, when it returns."""
        function = self.exports["__wbindgen_exn_store"]
        if not isinstance(function, Func):
            raise GenerationError("the WebAssembly module cannot be told of an error")
        function(self._store, self.keep(value))

    def closure(self, environment: int, table: int) -> Closure:
        """A function of the module that takes one value, by its address."""
        invoke, destroy = self._invokers[1], self._destroyer
        return Closure(
            lambda *arguments: self.call(invoke, *arguments),
            lambda *arguments: self.call(destroy, *arguments),
            environment,
            table,
        )

    def call_executor(self, environment: int, table: int, resolve: Any, reject: Any) -> None:
        """Call the module's function that is given to the constructor of a promise."""
        self.call(self._invokers[2], environment, table, resolve, reject)

    def write_struct(self, address: int, layout: str, *values: Any) -> None:
        self._memory.write(self._store, struct.pack(layout, *values), address & _UNSIGNED)

    def init_references(self) -> None:
        """Create the slots for undefined, null, true and false, as wasm-bindgen's glue does first."""
        table = self.exports["__wbindgen_externrefs"]
        if not isinstance(table, Table):
            raise GenerationError("the WebAssembly module has no reference table")
        first = table.grow(self._store, 4, None)
        table.set(self._store, 0, UNDEFINED)
        for offset, value in enumerate((UNDEFINED, NULL, True, False)):
            table.set(self._store, first + offset, value)

    def set_panic(self, message: str) -> None:
        self._panic = message
