"""Entities: runs that hold a state and execute operations on it, one at a time."""
