"""Every SQL text of the store: what the databases share (`builder`, `predicates`, `statements`) and each one's own."""
