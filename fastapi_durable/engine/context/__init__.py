"""`ctx`: what the body of a workflow can ask for."""
