-- CreateTable
CREATE TABLE "durable_stream_items" (
    "run_id" TEXT NOT NULL,
    "stream" TEXT NOT NULL,
    "item_offset" INTEGER NOT NULL,
    "kind" TEXT NOT NULL,
    "step_id" TEXT NOT NULL,
    "attempt" INTEGER NOT NULL,
    "data" JSONB,
    "appended_at" BIGINT NOT NULL,

    PRIMARY KEY ("run_id", "stream", "item_offset")
);
