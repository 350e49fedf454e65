"""What a workflow's body can call, one primitive a file: look up, decide, act, record."""
