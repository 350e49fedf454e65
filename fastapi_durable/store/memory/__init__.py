"""The reference implementation of the port: everything in dictionaries, nothing outlives the process."""

from fastapi_durable.store.memory.store import MemoryStateStore, MemoryTransaction

__all__ = ["MemoryStateStore", "MemoryTransaction"]
