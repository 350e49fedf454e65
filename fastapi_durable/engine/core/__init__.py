"""What all of the engine stands on."""
