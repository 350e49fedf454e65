"""The durable models, in Prisma's own language.

The first six have the names, types, columns and tables of nestjs-durable, so each library reads the other's rows. The
columns of this library in them are nullable or have a default, so a Nest client can still insert rows. The other tables
belong to this library alone.
"""

import re
from typing import Final, Literal, TypeAlias

from fastapi_durable.schema.language import Model, parse_schema

Provider: TypeAlias = Literal["sqlite", "postgresql"]

PROVIDERS: Final[tuple[Provider, ...]] = ("sqlite", "postgresql")

_MODELS: Final = """\
model DurableWorkflowRun {
  id                     String    @id
  workflow               String
  workflowVersion        String    @map("workflow_version")
  status                 String
  input                  Json?
  output                 Json?
  error                  Json?
  wakeAt                 BigInt?   @map("wake_at")
  lockedBy               String?   @map("locked_by")
  lockedUntil            DateTime? @map("locked_until")
  awaitingDecisionTaskId String?   @map("awaiting_decision_task_id")
  recoveryAttempts       Int?      @map("recovery_attempts")
  tags                   Json?
  searchAttributes       Json?     @map("search_attributes")
  priority               Int?
  namespace              String    @default("default")
  origin                 String?
  createdAt              DateTime  @map("created_at")
  updatedAt              DateTime  @map("updated_at")

  // fastapi_durable's own: nestjs-durable ignores them
  wakeCount   Int     @default(0) @map("wake_count")
  parentRunId String? @map("parent_run_id")
  parentSeq   Int?    @map("parent_seq")
  expiresAt   BigInt? @map("expires_at")
  traceparent String?
  queue       String  @default("")
  fairnessKey String  @default("") @map("fairness_key")
  claimOrder  BigInt  @default(0) @map("claim_order")

  attributes DurableRunAttribute[]

  @@index([status, wakeAt])
  @@index([workflow, status, createdAt])
  @@index([namespace, status, createdAt], map: "durable_workflow_runs_namespace_status_idx")
  @@index([parentRunId])
  @@index([createdAt, id])
  @@index([origin, createdAt])
  @@index([status, lockedUntil])
  @@index([status, expiresAt])
  @@index([status, queue, namespace, fairnessKey, claimOrder], map: "durable_workflow_runs_line_idx")
  @@index([status, queue, wakeAt], map: "durable_workflow_runs_due_idx")
  @@index([status, updatedAt])
{{TAGS_INDEX}}  @@map("durable_workflow_runs")
}

model DurableRunAttribute {
  runId    String             @map("run_id")
  key      String
  strValue String?            @map("str_value")
  numValue Float?             @map("num_value")
  run      DurableWorkflowRun @relation(fields: [runId], references: [id], onDelete: Cascade)

  @@id([runId, key])
  @@index([key, numValue])
  @@index([key, strValue])
  @@map("durable_run_attributes")
}

model DurableStepCheckpoint {
  runId         String    @map("run_id")
  seq           Int
  name          String
  kind          String
  stepId        String    @map("step_id")
  status        String
  input         Json?
  output        Json?
  error         Json?
  events        Json?
  attempts      Int
  workerGroup   String?   @map("worker_group")
  parallelGroup String?   @map("parallel_group")
  wakeAt        BigInt?   @map("wake_at")
  enqueuedAt    DateTime? @map("enqueued_at")
  startedAt     DateTime  @map("started_at")
  finishedAt    DateTime  @map("finished_at")

  @@id([runId, seq])
  @@map("durable_step_checkpoints")
}

model DurableSignalWaiter {
  token         String  @id
  runId         String  @map("run_id")
  seq           Int
  parallelGroup String? @map("parallel_group")

  @@index([runId])
  @@map("durable_signal_waiters")
}

model DurableBufferedSignal {
  id      {{SIGNAL_ID}} @id @default(autoincrement())
  token   String
  payload Json?

  // fastapi_durable's own: nestjs-durable ignores them
  signalId  String? @map("signal_id")
  createdAt BigInt? @map("created_at")

  @@unique([token, signalId])
  @@index([token])
  @@index([createdAt])
  @@map("durable_buffered_signals")
}

model DurableBufferedEvent {
  id          String @id
  name        String
  payload     Json?
  publishedAt BigInt @map("published_at")

  @@index([name, publishedAt])
  @@map("durable_buffered_events")
}

// fastapi_durable's own, as are the next three: nestjs-durable knows none of them
model DurableSchedule {
  id         String  @id
  lastWindow BigInt  @map("last_window")
  lastRunId  String? @map("last_run_id")
  paused     Boolean @default(false)
  refusal    Json?
  updatedAt  BigInt  @map("updated_at")

  @@map("durable_schedules")
}

model DurableWorker {
  id          String  @id
  host        String
  pid         Int
  version     String
  namespace   String?
  workflows   Json?
  concurrency Int
  inFlight    Int     @map("in_flight")
  startedAt   BigInt  @map("started_at")
  beatAt      BigInt  @map("beat_at")

  @@index([beatAt])
  @@map("durable_workers")
}

model DurableQueue {
  id                String  @id
  namespace         String
  name              String
  concurrency       Int?
  workerConcurrency Int?    @map("worker_concurrency")
  rateLimit         Int?    @map("rate_limit")
  ratePeriod        BigInt? @map("rate_period")
  begun             Json?
  lastKey           String  @default("") @map("last_key")
  claims            Int     @default(0)
  claimedAt         BigInt? @map("claimed_at")
  updatedAt         BigInt  @map("updated_at")

  @@map("durable_queues")
}

model DurableStreamItem {
  runId      String @map("run_id")
  stream     String
  itemOffset Int    @map("item_offset")
  kind       String
  stepId     String @map("step_id")
  attempt    Int
  data       Json?
  appendedAt BigInt @map("appended_at")

  @@id([runId, stream, itemOffset])
  @@map("durable_stream_items")
}
"""

# SQLite counts up `INTEGER PRIMARY KEY` only, which Prisma calls Int; it has no index over the values of a JSON array.
_DIALECTS: Final[dict[Provider, dict[str, str]]] = {
    "sqlite": {"{{SIGNAL_ID}}": "Int   ", "{{TAGS_INDEX}}": ""},
    "postgresql": {
        "{{SIGNAL_ID}}": "BigInt",
        "{{TAGS_INDEX}}": "  @@index([tags(ops: JsonbPathOps)], type: Gin)\n",
    },
}

_MODEL: Final = re.compile(r"^((?://[^\n]*\n)*model (\w+) \{\n.*?^\}\n)", re.MULTILINE | re.DOTALL)


def snippet(provider: Provider = "sqlite") -> str:
    """Return the durable models as text to paste into a `schema.prisma` of this provider."""
    text = _MODELS
    for mark, replacement in _DIALECTS[provider].items():
        text = text.replace(mark, replacement)
    return text


def durable_model_texts(provider: Provider = "sqlite") -> dict[str, str]:
    """Return the text of each durable model, by its name."""
    return {found[2]: found[1] for found in _MODEL.finditer(snippet(provider))}


def durable_models(provider: Provider = "sqlite") -> tuple[Model, ...]:
    """Return the durable models, parsed: their fields, columns, tables and indexes."""
    return parse_schema(snippet(provider)).models


def durable_managed_tables() -> tuple[str, ...]:
    """Return the names of the tables that hold durable state, for tools that must leave them alone."""
    return tuple(model.table for model in durable_models())
