// The first line keeps the Prisma CLI from downloading a native engine: migrations run in its JavaScript engine.
process.env.PRISMA_CLIENT_ENGINE_TYPE ??= 'client'
process.env.DATABASE_URL ??= 'file:./orders.db'

import { PrismaLibSQL } from '@prisma/adapter-libsql'
import { PrismaPg } from '@prisma/adapter-pg'
import { defineConfig } from 'prisma/config'

// DATABASE_URL chooses the database, and with it the schema and the folder of migrations.
const url = process.env.DATABASE_URL
const postgresql = /^postgres(ql)?:/.test(url)

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: postgresql ? 'schema.postgresql.prisma' : 'schema.prisma',
  migrations: { path: postgresql ? 'migrations/postgresql' : 'migrations/sqlite' },
  async adapter() {
    if (!postgresql) return new PrismaLibSQL({ url })
    return new PrismaPg({ connectionString: url }, { schema: new URL(url).searchParams.get('schema') ?? undefined })
  },
})
