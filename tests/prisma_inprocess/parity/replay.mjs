// Replays captured operations through Prisma's official JavaScript runtime: its parameterisation, its host for the
// query compiler, its interpreter and its database adapter. Reads one JSON object a line, writes one a line.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import { isDeepStrictEqual } from 'node:util'
import { QueryInterpreter, TransactionManager, noopTracingHelper, parameterizeQuery } from '@prisma/client-engine-runtime'
import { ParamGraph } from '@prisma/param-graph'
import { buildAndSerializeParamGraph } from '@prisma/param-graph-builder'

const [provider, url, schemaFile, dmmfFile] = process.argv.slice(2)

const require = createRequire(import.meta.url)
const folder = path.join(path.dirname(require.resolve('@prisma/query-compiler-wasm/package.json')), provider)
const glueFile = path.join(folder, 'query_compiler_fast_bg.js')
const glue = await import(glueFile).catch(async () => {
  // The package does not say that its file is a module.
  const copy = path.join(import.meta.dirname, 'node_modules', `.glue.${provider}.mjs`)
  fs.copyFileSync(glueFile, copy)
  return import(copy)
})
globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => console.error(message) }
const module = new WebAssembly.Module(fs.readFileSync(path.join(folder, 'query_compiler_fast_bg.wasm')))
const imports = {}
for (const item of WebAssembly.Module.imports(module)) (imports[item.module] ??= {})[item.name] = glue[item.name]
const instance = new WebAssembly.Instance(module, imports)
glue.__wbg_set_wasm(instance.exports)
instance.exports.__wbindgen_start()

const connectionInfo = { supportsRelationJoins: false }
const compiler = new glue.QueryCompiler({
  datamodel: fs.readFileSync(schemaFile, 'utf8'),
  provider: provider === 'postgresql' ? 'postgres' : provider,
  connectionInfo,
})

const dmmf = JSON.parse(fs.readFileSync(dmmfFile, 'utf8'))
// The graph builder looks actions up under their old names.
for (const mapping of dmmf.mappings.modelOperations)
  for (const action of ['create', 'update', 'delete', 'upsert'])
    if (mapping[`${action}One`]) mapping[action] = mapping[`${action}One`]
const enums = Object.fromEntries(
  dmmf.datamodel.enums.map((item) => [item.name, Object.fromEntries(item.values.map((v) => [v.name, v.dbName ?? v.name]))]),
)
const graph = ParamGraph.deserialize(buildAndSerializeParamGraph(dmmf), (name) => enums[name])

const { PrismaPg } = provider === 'postgresql' ? await import('@prisma/adapter-pg') : {}
const { PrismaLibSql } = provider === 'sqlite' ? await import('@prisma/adapter-libsql') : {}
const adapter = await (provider === 'postgresql' ? new PrismaPg({ connectionString: url }) : new PrismaLibSql({ url })).connect()
if (provider === 'sqlite') await adapter.executeRaw({ sql: 'PRAGMA foreign_keys = ON', args: [], argTypes: [] })
const manager = new TransactionManager({
  driverAdapter: adapter,
  transactionOptions: { maxWait: 5000, timeout: 20000 },
  tracingHelper: noopTracingHelper,
  provider,
})
const interpreter = QueryInterpreter.forSql({ tracingHelper: noopTracingHelper, provider, connectionInfo })

/** A compiled plan as plain data: maps become objects, undefined disappears. */
function plain(value) {
  if (value instanceof Map) return plain(Object.fromEntries(value))
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'bigint') return Number(value)
  if (value === undefined || value === null) return null
  if (typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, plain(item)]),
  )
}

function encode(_key, value) {
  if (typeof value === 'bigint') return { $type: 'BigInt', value: String(value) }
  if (typeof value === 'number' && !Number.isFinite(value)) return { $type: 'Number', value: String(value) }
  if (value instanceof Uint8Array) return { $type: 'Bytes', value: Buffer.from(value).toString('base64') }
  return value
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const operation = JSON.parse(line)
  const answer = { label: operation.label }
  const { parameterizedQuery, placeholderValues } = parameterizeQuery(operation.literal, graph)
  answer.request = parameterizedQuery
  answer.sameRequest = isDeepStrictEqual(parameterizedQuery, operation.request)
  try {
    const plan = plain(compiler.compile(JSON.stringify(operation.request)))
    answer.samePlan = isDeepStrictEqual(plan, operation.plan)
    if (!answer.samePlan) answer.plan = plan
  } catch (error) {
    answer.samePlan = operation.plan === null
    answer.planError = { code: error.code, message: error.message }
  }
  try {
    answer.result = await interpreter.run(compiler.compile(JSON.stringify(parameterizedQuery)), {
      queryable: adapter,
      transactionManager: { enabled: true, manager },
      scope: placeholderValues,
    })
  } catch (error) {
    answer.error = { code: error.code ?? error.name, message: error.message, meta: error.meta }
  }
  console.log(JSON.stringify(answer, encode))
}
await adapter.dispose()
