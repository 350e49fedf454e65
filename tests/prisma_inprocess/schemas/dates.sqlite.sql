-- The columns `day` and `stamp` are declared as other tools do, which Prisma introspects as DateTime.
CREATE TABLE "events" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "name" TEXT NOT NULL,
    "happens_at" DATETIME NOT NULL,
    "made" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "changed" DATETIME NOT NULL,
    "since" DATETIME NOT NULL DEFAULT '2020-01-01 00:00:00 +00:00',
    "day" DATE,
    "stamp" TIMESTAMP,
    "seriesId" INTEGER,
    CONSTRAINT "events_seriesId_fkey" FOREIGN KEY ("seriesId") REFERENCES "Series" ("id") ON DELETE SET NULL ON UPDATE CASCADE
);
CREATE UNIQUE INDEX "events_happens_at_key" ON "events"("happens_at");

CREATE TABLE "Series" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "name" TEXT NOT NULL
);

CREATE TABLE "Literal" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "text" TEXT NOT NULL DEFAULT 'it''s "quoted"',
    "number" INTEGER NOT NULL DEFAULT -7,
    "big" BIGINT NOT NULL DEFAULT 9007199254740993,
    "ratio" REAL NOT NULL DEFAULT -0.5,
    "amount" DECIMAL NOT NULL DEFAULT 12.5,
    "flag" BOOLEAN NOT NULL DEFAULT true,
    "blob" BLOB NOT NULL DEFAULT X'00FF10',
    "data" JSONB NOT NULL DEFAULT '{"a": [1, null]}',
    "kind" TEXT NOT NULL DEFAULT 'walk',
    "moment" DATETIME NOT NULL DEFAULT '2020-02-29 17:45:00.125 +00:00'
);
