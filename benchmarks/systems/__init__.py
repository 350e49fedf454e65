"""One small adapter for each system; each runs in the virtual environment of its system."""
