"""The engine on the memory store: every primitive, replay, crashes and races."""
