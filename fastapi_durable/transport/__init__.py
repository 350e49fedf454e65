"""How a step attempt reaches the code that executes it."""
