"""Databases: connections, conversions of values, and their errors as Prisma's codes."""
