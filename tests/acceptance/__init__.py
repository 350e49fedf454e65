"""The example as real processes: served over HTTP, killed, drained, and cut off from its database."""
