-- CreateTable
CREATE TABLE "orders" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "customer" TEXT NOT NULL,
    "items" JSONB NOT NULL,
    "total_cents" INTEGER NOT NULL,
    "status" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL
);

-- CreateTable
CREATE TABLE "ledger_entries" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "order_id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "amount_cents" INTEGER NOT NULL,
    "at" DATETIME NOT NULL
);

-- CreateTable
CREATE TABLE "card_charges" (
    "idempotency_key" TEXT NOT NULL PRIMARY KEY,
    "order_id" TEXT NOT NULL,
    "amount_cents" INTEGER NOT NULL,
    "refunded" BOOLEAN NOT NULL DEFAULT false,
    "at" DATETIME NOT NULL
);

-- CreateTable
CREATE TABLE "durable_workflow_runs" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "workflow" TEXT NOT NULL,
    "workflow_version" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "input" JSONB,
    "output" JSONB,
    "error" JSONB,
    "wake_at" BIGINT,
    "locked_by" TEXT,
    "locked_until" DATETIME,
    "awaiting_decision_task_id" TEXT,
    "recovery_attempts" INTEGER,
    "tags" JSONB,
    "search_attributes" JSONB,
    "priority" INTEGER,
    "namespace" TEXT NOT NULL DEFAULT 'default',
    "origin" TEXT,
    "created_at" DATETIME NOT NULL,
    "updated_at" DATETIME NOT NULL,
    "wake_count" INTEGER NOT NULL DEFAULT 0,
    "parent_run_id" TEXT,
    "parent_seq" INTEGER,
    "expires_at" BIGINT,
    "traceparent" TEXT
);

-- CreateTable
CREATE TABLE "durable_run_attributes" (
    "run_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "str_value" TEXT,
    "num_value" REAL,

    PRIMARY KEY ("run_id", "key"),
    CONSTRAINT "durable_run_attributes_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "durable_workflow_runs" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);

-- CreateTable
CREATE TABLE "durable_step_checkpoints" (
    "run_id" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "step_id" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "input" JSONB,
    "output" JSONB,
    "error" JSONB,
    "events" JSONB,
    "attempts" INTEGER NOT NULL,
    "worker_group" TEXT,
    "parallel_group" TEXT,
    "wake_at" BIGINT,
    "enqueued_at" DATETIME,
    "started_at" DATETIME NOT NULL,
    "finished_at" DATETIME NOT NULL,

    PRIMARY KEY ("run_id", "seq")
);

-- CreateTable
CREATE TABLE "durable_signal_waiters" (
    "token" TEXT NOT NULL PRIMARY KEY,
    "run_id" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "parallel_group" TEXT
);

-- CreateTable
CREATE TABLE "durable_buffered_signals" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "token" TEXT NOT NULL,
    "payload" JSONB,
    "signal_id" TEXT,
    "created_at" BIGINT
);

-- CreateTable
CREATE TABLE "durable_buffered_events" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "name" TEXT NOT NULL,
    "payload" JSONB,
    "published_at" BIGINT NOT NULL
);

-- CreateIndex
CREATE INDEX "ledger_entries_order_id_idx" ON "ledger_entries"("order_id");

-- CreateIndex
CREATE UNIQUE INDEX "ledger_entries_order_id_kind_key" ON "ledger_entries"("order_id", "kind");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_status_wake_at_idx" ON "durable_workflow_runs"("status", "wake_at");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_workflow_status_idx" ON "durable_workflow_runs"("workflow", "status");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_namespace_status_idx" ON "durable_workflow_runs"("namespace", "status", "created_at");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_parent_run_id_idx" ON "durable_workflow_runs"("parent_run_id");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_created_at_id_idx" ON "durable_workflow_runs"("created_at", "id");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_status_locked_until_idx" ON "durable_workflow_runs"("status", "locked_until");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_status_expires_at_idx" ON "durable_workflow_runs"("status", "expires_at");

-- CreateIndex
CREATE INDEX "durable_run_attributes_key_num_value_idx" ON "durable_run_attributes"("key", "num_value");

-- CreateIndex
CREATE INDEX "durable_run_attributes_key_str_value_idx" ON "durable_run_attributes"("key", "str_value");

-- CreateIndex
CREATE INDEX "durable_signal_waiters_run_id_idx" ON "durable_signal_waiters"("run_id");

-- CreateIndex
CREATE INDEX "durable_buffered_signals_token_idx" ON "durable_buffered_signals"("token");

-- CreateIndex
CREATE INDEX "durable_buffered_signals_created_at_idx" ON "durable_buffered_signals"("created_at");

-- CreateIndex
CREATE UNIQUE INDEX "durable_buffered_signals_token_signal_id_key" ON "durable_buffered_signals"("token", "signal_id");

-- CreateIndex
CREATE INDEX "durable_buffered_events_name_published_at_idx" ON "durable_buffered_events"("name", "published_at");

