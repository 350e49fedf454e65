"""The console, its HTTP API, and the other routes."""
