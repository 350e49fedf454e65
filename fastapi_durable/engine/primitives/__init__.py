"""The calls of a workflow's body, one primitive in each file: look up, decide, act, record."""
