"""How logs, Prometheus and OpenTelemetry learn what the engine does."""
