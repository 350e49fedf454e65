"""`fastapi-durable init --with docker`: the files that run the project in containers."""

from string import Template
from typing import Final

REQUIREMENTS: Final = "fastapi-durable"
IGNORED: Final = (".git", ".venv", "**/__pycache__", ".env", "*.db", "*.db-*", "compose.yaml")
"""Files that the image does not contain: secrets, and files that its build generates."""

_DOCKERFILE: Final = Template("""\
# One image for the web server, the worker and the migrations. Nothing in it can be changed by the user it runs as.
FROM python:3.13-slim

# Prisma's compiled modules lie in the image, so that no process compiles them when it starts.
ENV PYTHONUNBUFFERED=1 PRISMA_INPROCESS_CACHE_DIR=/opt/prisma-modules
WORKDIR /app

COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt

COPY . .
# The client and the compiled modules, also that of the migrations. It needs no database.
RUN fastapi-durable generate --warm-up-migrations
RUN python -m compileall -q .

USER 10001:10001
EXPOSE 8000
CMD ["fastapi", "run", "$application", "--host", "0.0.0.0", "--port", "8000"]
""")

_COMPOSE: Final = Template("""\
# DATABASE_PASSWORD=... docker compose up --build
# The password becomes part of a URL: letters, digits, "-" and "_" only.

x-application: &application
  build: .
  environment: &environment
    $variable: "postgresql://app:$${DATABASE_PASSWORD:?choose a password of letters and digits}@database:5432/app"
  read_only: true
  tmpfs: ["/tmp"]
  cap_drop: ["ALL"]
  security_opt: ["no-new-privileges:true"]
  # Longer than DURABLE_SHUTDOWN_TIMEOUT (10 s), in which runs are handed back.
  stop_grace_period: 30s

services:
  database:
    image: postgres:17
    environment:
      POSTGRES_USER: app
      POSTGRES_DB: app
      POSTGRES_PASSWORD: "$${DATABASE_PASSWORD:?choose a password of letters and digits}"
    volumes: ["database:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD", "pg_isready", "--username", "app", "--dbname", "app"]
      interval: 2s
      timeout: 5s
      retries: 30
    restart: unless-stopped

  # Ends when the database has all migrations. The others start then.
  migrate:
    <<: *application
    command: ["fastapi-durable", "migrate", "deploy"]
    depends_on:
      database: {condition: service_healthy}

  web:
    <<: *application
    environment:
      <<: *environment
      DURABLE_ROLE: api
    # On this machine only: the console of a new project has no login yet.
    ports: ["127.0.0.1:8000:8000"]
    depends_on: &migrated
      migrate: {condition: service_completed_successfully}
    restart: unless-stopped

  worker:
    <<: *application
    command: ["fastapi-durable", "worker", "$module:durable"]
    depends_on: *migrated
    restart: unless-stopped

volumes:
  database:
""")


def dockerfile(application: str) -> str:
    """The image's recipe.

    Args:
        application: The application's file, from the project's folder.
    """
    return _DOCKERFILE.substitute(application=application)


def compose(application: str, variable: str) -> str:
    """The services.

    Args:
        application: The application's file, from the project's folder, with a `DurableModule` called `durable`.
        variable: The environment variable with the database's URL.
    """
    return _COMPOSE.substitute(variable=variable, module=application.removesuffix(".py").replace("/", "."))
