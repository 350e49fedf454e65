-- AlterTable
ALTER TABLE "durable_schedules" ADD COLUMN     "refusal" JSONB;

