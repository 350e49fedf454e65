"""Reports the engine's work to logs, Prometheus and OpenTelemetry."""
