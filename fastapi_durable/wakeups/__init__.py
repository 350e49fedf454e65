"""Word between processes of what happened in the store."""
