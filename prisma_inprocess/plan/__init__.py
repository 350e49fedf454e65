"""Query plans as Python functions: a plan is compiled once per shape and then run for each set of values."""
