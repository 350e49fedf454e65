"""A module inside an application: its settings, what runs, and how routes reach it."""
