-- AlterTable
ALTER TABLE "durable_workflow_runs" ADD COLUMN "queue" TEXT NOT NULL DEFAULT '';
ALTER TABLE "durable_workflow_runs" ADD COLUMN "fairness_key" TEXT NOT NULL DEFAULT '';
ALTER TABLE "durable_workflow_runs" ADD COLUMN "claim_order" BIGINT NOT NULL DEFAULT 0;

-- CreateTable
CREATE TABLE "durable_queues" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "namespace" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "concurrency" INTEGER,
    "worker_concurrency" INTEGER,
    "rate_limit" INTEGER,
    "rate_period" BIGINT,
    "begun" JSONB,
    "last_key" TEXT NOT NULL DEFAULT '',
    "claims" INTEGER NOT NULL DEFAULT 0,
    "claimed_at" BIGINT,
    "updated_at" BIGINT NOT NULL
);

-- CreateIndex
CREATE INDEX "durable_workflow_runs_line_idx" ON "durable_workflow_runs"("status", "queue", "namespace", "fairness_key", "claim_order");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_due_idx" ON "durable_workflow_runs"("status", "queue", "wake_at");

-- Runs that are alive keep their place: creation, less five minutes for each unit of priority.
UPDATE "durable_workflow_runs"
SET "claim_order" = CASE typeof("created_at") WHEN 'integer' THEN "created_at"
    ELSE CAST(round((julianday("created_at") - 2440587.5) * 86400000) AS INTEGER) END - coalesce("priority", 0) * 300000
WHERE "status" IN ('pending', 'running', 'suspended', 'cancelling', 'blocked');
