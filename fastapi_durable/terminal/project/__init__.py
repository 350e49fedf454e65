"""`fastapi-durable init`: what a project needs, written where it is missing."""
