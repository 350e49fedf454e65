"""The façade of the engine for applications and operators, with one file for each kind of call."""
