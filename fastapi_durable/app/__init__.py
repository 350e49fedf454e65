"""A module inside an application: its settings, its running parts, and the access for routes."""
