"""Prisma Migrate in the process: its own schema engine, its history and its files, without Node.js.

project = load_project(Path("schema.prisma"))
await deploy(project)
"""

from __future__ import annotations

from prisma_inprocess.migrate.changes import diff, pull, push
from prisma_inprocess.migrate.development import dev
from prisma_inprocess.migrate.history import deploy, reset, resolve, status
from prisma_inprocess.migrate.project import Project, load_project
from prisma_inprocess.migrate.results import Deployed, Developed, Difference, Pushed, Source, Status

__all__ = [
    "Deployed",
    "Developed",
    "Difference",
    "Project",
    "Pushed",
    "Source",
    "Status",
    "deploy",
    "dev",
    "diff",
    "load_project",
    "pull",
    "push",
    "reset",
    "resolve",
    "status",
]
