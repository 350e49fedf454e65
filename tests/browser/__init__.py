"""The dashboard in a real browser. Left out of `make test`, since it needs Chromium: `make test-console`."""
