"""What a worker does besides driving runs."""
