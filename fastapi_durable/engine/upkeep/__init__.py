"""The tasks of a worker besides driving runs."""
