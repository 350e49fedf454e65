-- CreateIndex
CREATE INDEX "durable_workflow_runs_origin_created_at_idx" ON "durable_workflow_runs"("origin", "created_at");

