// This line keeps the Prisma CLI from downloading a native engine: migrations run in its JavaScript engine.
process.env.PRISMA_CLIENT_ENGINE_TYPE ||= 'client'
process.env.DATABASE_URL ||= 'file:./orders.db'

import { PrismaLibSQL } from '@prisma/adapter-libsql'
import { PrismaPg } from '@prisma/adapter-pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { defineConfig } from 'prisma/config'

// DATABASE_URL chooses the database, and with it the schema and the folder of migrations.
const url = process.env.DATABASE_URL
const postgresql = /^postgres(ql)?:/.test(url)

function postgresAdapter(): PrismaPg {
  const schema = new URLSearchParams(url.split('?')[1]).get('schema') ?? undefined
  const options = schema && `-c search_path="${schema}"`
  // Parsed, never as `connectionString`: the adapter would give that precedence over its shadow database's name, and
  // `migrate dev` would work on the real one.
  // allowExitOnIdle: the CLI leaves its pool open, and would wait ten seconds for it before it exits.
  return new PrismaPg({ ...parseIntoClientConfig(url), ...(options && { options }), allowExitOnIdle: true }, { schema })
}

// On PostgreSQL the engine guards its advisory lock with a ten-second timer that it never clears, and `migrate deploy`
// would end ten seconds late. Unreferenced, the timer still fires while the lock is waited for.
const setTimer = globalThis.setTimeout
globalThis.setTimeout = ((callback, delay, ...rest) => {
  const timer = setTimer(callback, delay, ...rest)
  return delay === 10_000 ? timer.unref() : timer
}) as typeof setTimeout

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: postgresql ? 'schema.postgresql.prisma' : 'schema.prisma',
  migrations: { path: postgresql ? 'migrations/postgresql' : 'migrations/sqlite' },
  adapter: async () => (postgresql ? postgresAdapter() : new PrismaLibSQL({ url: url.split('?')[0] })),
})
