-- CreateIndex
CREATE INDEX "durable_workflow_runs_status_updated_at_idx" ON "durable_workflow_runs"("status", "updated_at");

