-- AlterTable
ALTER TABLE "durable_workflow_runs" ADD COLUMN     "claim_order" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "fairness_key" TEXT NOT NULL DEFAULT '',
ADD COLUMN     "queue" TEXT NOT NULL DEFAULT '';

-- CreateTable
CREATE TABLE "durable_queues" (
    "id" TEXT NOT NULL,
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
    "updated_at" BIGINT NOT NULL,

    CONSTRAINT "durable_queues_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "durable_workflow_runs_line_idx" ON "durable_workflow_runs"("status", "queue", "namespace", "fairness_key", "claim_order");

-- CreateIndex
CREATE INDEX "durable_workflow_runs_due_idx" ON "durable_workflow_runs"("status", "queue", "wake_at");

-- Runs that are alive keep their place: creation, less five minutes for each unit of priority.
UPDATE "durable_workflow_runs"
SET "claim_order" = (extract(epoch FROM "created_at") * 1000)::bigint - coalesce("priority", 0)::bigint * 300000
WHERE "status" IN ('pending', 'running', 'suspended', 'cancelling', 'blocked');
