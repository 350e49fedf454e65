"""How runs are started: by a call, in a queue, or by an event."""
