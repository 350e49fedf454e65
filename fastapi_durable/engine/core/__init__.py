"""The kernel of the engine, on which everything else builds."""
