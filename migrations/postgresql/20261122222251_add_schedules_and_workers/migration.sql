-- CreateTable
CREATE TABLE "durable_schedules" (
    "id" TEXT NOT NULL,
    "last_window" BIGINT NOT NULL,
    "last_run_id" TEXT,
    "paused" BOOLEAN NOT NULL DEFAULT false,
    "updated_at" BIGINT NOT NULL,

    CONSTRAINT "durable_schedules_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "durable_workers" (
    "id" TEXT NOT NULL,
    "host" TEXT NOT NULL,
    "pid" INTEGER NOT NULL,
    "version" TEXT NOT NULL,
    "namespace" TEXT,
    "workflows" JSONB,
    "concurrency" INTEGER NOT NULL,
    "in_flight" INTEGER NOT NULL,
    "started_at" BIGINT NOT NULL,
    "beat_at" BIGINT NOT NULL,

    CONSTRAINT "durable_workers_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "durable_workers_beat_at_idx" ON "durable_workers"("beat_at");

