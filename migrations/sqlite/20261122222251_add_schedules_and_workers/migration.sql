-- CreateTable
CREATE TABLE "durable_schedules" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "last_window" BIGINT NOT NULL,
    "last_run_id" TEXT,
    "paused" BOOLEAN NOT NULL DEFAULT false,
    "updated_at" BIGINT NOT NULL
);

-- CreateTable
CREATE TABLE "durable_workers" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "host" TEXT NOT NULL,
    "pid" INTEGER NOT NULL,
    "version" TEXT NOT NULL,
    "namespace" TEXT,
    "workflows" JSONB,
    "concurrency" INTEGER NOT NULL,
    "in_flight" INTEGER NOT NULL,
    "started_at" BIGINT NOT NULL,
    "beat_at" BIGINT NOT NULL
);

-- CreateIndex
CREATE INDEX "durable_workers_beat_at_idx" ON "durable_workers"("beat_at");

