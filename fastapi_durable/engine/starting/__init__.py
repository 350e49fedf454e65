"""How runs come to be: by a call, on a queue, by an event."""
