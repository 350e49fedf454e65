"""The example inside a FastAPI application."""
