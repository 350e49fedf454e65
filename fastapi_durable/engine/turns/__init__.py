"""The execution of a body against its history: positions, attempts, deliveries and endings."""
