"""The engine: drives runs through their turns. One durable primitive a file."""
