"""`fastapi-durable init`: writes the missing files of a project."""
