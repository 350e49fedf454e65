"""The console: its HTTP API, who may use it, and its pages."""
