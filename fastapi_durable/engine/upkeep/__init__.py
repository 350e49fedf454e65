"""What a worker does beside driving runs."""
