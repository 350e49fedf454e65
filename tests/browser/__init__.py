"""The dashboard in a real browser. `make test-console`, since it needs Chromium; CI runs it before `make test`."""
