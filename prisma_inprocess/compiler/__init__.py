"""From a JSON protocol request to a query plan: Prisma's query compiler (WebAssembly) inside this process."""
