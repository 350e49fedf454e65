"""An order desk: orders come in over HTTP, and a durable workflow takes each of them to its end."""
