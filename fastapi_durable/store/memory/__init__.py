"""The reference implementation of the port. It keeps everything in dictionaries, and nothing outlives the process."""

from fastapi_durable.store.memory.store import MemoryStateStore, MemoryTransaction

__all__ = ["MemoryStateStore", "MemoryTransaction"]
