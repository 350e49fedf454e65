-- DropIndex
DROP INDEX "durable_workflow_runs_workflow_status_idx";

-- CreateIndex
CREATE INDEX "durable_workflow_runs_workflow_status_created_at_idx" ON "durable_workflow_runs"("workflow", "status", "created_at");

