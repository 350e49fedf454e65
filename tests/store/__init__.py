"""The contract of the state store, and the stores that are held to it."""
