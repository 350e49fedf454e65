"""The engine drives runs through their turns. docs/architecture.md names its floors."""
