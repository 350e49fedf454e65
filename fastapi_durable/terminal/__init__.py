"""`python -m fastapi_durable runs ...`: see and steer runs from a terminal."""
