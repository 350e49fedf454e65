"""Benchmarks: this engine beside its peers, on the same work; see `docs/performance.md`."""
