"""What applications and operators may ask for: the façade over the engine's kernel, a file for each kind of request."""
