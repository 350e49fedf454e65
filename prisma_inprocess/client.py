"""The names that a generated package imports."""

from __future__ import annotations

from prisma_inprocess.engine import InProcessEngine
from prisma_inprocess.model_building import build_schema
from prisma_inprocess.operation import Operation
from prisma_inprocess.package import GeneratedPackage
from prisma_inprocess.raw_batch import RowsOf

__all__ = ["GeneratedPackage", "InProcessEngine", "Operation", "RowsOf", "build_schema"]
