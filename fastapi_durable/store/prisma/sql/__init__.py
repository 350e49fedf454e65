"""Every SQL text of the store: what both databases share (`builder`, `statements`, `predicates`), and each one's own."""
