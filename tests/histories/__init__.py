"""Recorded runs. `python -m tests.histories.record` writes those that are missing, and never an existing one."""
