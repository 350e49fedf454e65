"""Prisma's WebAssembly modules: how they are found, compiled, kept on disk, and what they import from JavaScript."""
