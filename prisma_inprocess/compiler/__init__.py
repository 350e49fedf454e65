"""Compiles JSON protocol requests to query plans, with Prisma's query compiler (WebAssembly) inside this process."""
