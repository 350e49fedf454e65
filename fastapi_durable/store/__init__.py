"""State stores: the port (`base`), the in-memory reference implementation, and Prisma."""
