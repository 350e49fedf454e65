"""`schema --check` finds everything the store would stumble over, and nothing else."""

import pytest

from fastapi_durable.schema import PROVIDERS, Provider, missing_from, parse_schema, snippet


def _changed(old: str, new: str, provider: Provider = "sqlite") -> list[str]:
    text = snippet(provider)
    assert old in text
    return missing_from(parse_schema(text.replace(old, new, 1)), provider)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_printed_snippet_lacks_nothing(provider: Provider) -> None:
    """What `schema` prints, `schema --check` accepts."""
    assert missing_from(parse_schema(snippet(provider)), provider) == []


def test_an_empty_schema_lacks_every_model() -> None:
    """A missing model is one line, which says how to get it."""
    problems = missing_from(parse_schema('datasource db {\n  provider = "postgresql"\n}\n'))
    assert len(problems) == 10
    assert problems[0] == (
        "model DurableWorkflowRun is missing; `python -m fastapi_durable schema --provider postgresql` prints it"
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            '  wakeCount   Int     @default(0) @map("wake_count")\n',
            "",
            'DurableWorkflowRun.wakeCount is missing; add: wakeCount Int @default(0) @map("wake_count")',
        ),
        ("  seq           Int\n", "  seq String\n", "DurableStepCheckpoint.seq is String; it must be Int"),
        (
            "  origin                 String?",
            "  origin String",
            "DurableWorkflowRun.origin is String; it must be String?",
        ),
        (
            '  workflowVersion        String    @map("workflow_version")',
            "  workflowVersion String",
            (
                "DurableWorkflowRun.workflowVersion is column 'workflowVersion'; it must be 'workflow_version':"
                ' workflowVersion String @map("workflow_version")'
            ),
        ),
        ('@default("default")', "", 'DurableWorkflowRun.namespace must have @default("default")'),
        (
            "  @@index([parentRunId])\n",
            "",
            "DurableWorkflowRun lacks an index; add: @@index([parentRunId])",
        ),
        (
            ', map: "durable_workflow_runs_namespace_status_idx"',
            "",
            (
                "DurableWorkflowRun has the index over (namespace, status, createdAt) under another name; write:"
                ' @@index([namespace, status, createdAt], map: "durable_workflow_runs_namespace_status_idx")'
            ),
        ),
        (
            "  @@unique([token, signalId])\n",
            "  @@index([token, signalId])\n",
            "DurableBufferedSignal lacks an index; add: @@unique([token, signalId])",
        ),
        (
            "@@id([runId, seq])",
            "@@id([seq, runId])",
            "DurableStepCheckpoint has the primary key (seq, runId); it must be (runId, seq)",
        ),
        (
            '@@map("durable_signal_waiters")',
            '@@map("waiters")',
            "DurableSignalWaiter is mapped to table 'waiters'; write: @@map(\"durable_signal_waiters\")",
        ),
        (
            ", onDelete: Cascade",
            "",
            (
                "DurableRunAttribute.run must be deleted with its run; write:"
                " run DurableWorkflowRun @relation(fields: [runId], references: [id], onDelete: Cascade)"
            ),
        ),
        (
            '  @@map("durable_buffered_events")',
            '  tenant String\n  @@map("durable_buffered_events")',
            (
                "DurableBufferedEvent.tenant is required and has no default, so the store could not insert a row;"
                " make it optional or give it a @default"
            ),
        ),
        (
            '  @@map("durable_buffered_events")',
            '  @@ignore\n  @@map("durable_buffered_events")',
            "DurableBufferedEvent carries @@ignore, so the generated client would not know it; remove the attribute",
        ),
        (
            "  origin                 String?",
            "  origin                 String? @ignore",
            (
                "DurableWorkflowRun.origin carries @ignore, so the generated client would not know it;"
                " write: origin String?"
            ),
        ),
    ],
)
def test_each_thing_that_is_missing_is_named_with_the_line_that_mends_it(old: str, new: str, problem: str) -> None:
    """One sentence for one problem."""
    assert _changed(old, new) == [problem]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            '  createdAt              DateTime  @map("created_at")',
            '  createdAt DateTime @map("created_at") @db.Timestamptz(3)',
            (
                "DurableWorkflowRun.createdAt is @db.Timestamptz(3); it must be a timestamp without time zone,"
                " of milliseconds or finer: remove the attribute"
            ),
        ),
        (
            "  payload Json?",
            "  payload Json? @db.Json",
            "DurableBufferedSignal.payload is @db.Json; it must be JSONB: remove the attribute",
        ),
        (
            "  @@index([tags(ops: JsonbPathOps)], type: Gin)\n",
            "  @@index([tags])\n",
            "DurableWorkflowRun lacks an index; add: @@index([tags(ops: JsonbPathOps)], type: Gin)",
        ),
        ("BigInt @id", "Int @id", "DurableBufferedSignal.id is Int; it must be BigInt"),
    ],
)
def test_postgresql_is_held_to_its_own_types(old: str, new: str, problem: str) -> None:
    """Native types and indexes that the store depends on are checked, too."""
    assert _changed(old, new, "postgresql") == [problem]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  seq           Int\n", "  seq Int // the position\n\n"),
        ("  origin                 String?", "  origin String? @db.VarChar(80) /// who declares it"),
        (
            ', map: "durable_workflow_runs_namespace_status_idx"',
            ',\n    map: "durable_workflow_runs_namespace_status_idx"\n  ',
        ),
        ("@@index([parentRunId])", '@@index(fields: [parentRunId(sort: Desc)], name: "mine")'),
        ('@map("wake_count")', '@map(name: "wake_count")'),
        (
            '  @@map("durable_buffered_events")',
            (
                "  tenant String?\n  at DateTime @updatedAt\n"
                "  run DurableWorkflowRun @relation(fields: [a], references: [id])\n"
                '  a String @default("a, b) { // c")\n  @@index([tenant])\n  @@map("durable_buffered_events")'
            ),
        ),
        (
            "model DurableSignalWaiter {",
            '/* a\n note */\nenum Colour {\n  RED\n  @@map("c")\n}\n\nmodel DurableSignalWaiter {',
        ),
    ],
)
def test_formatting_and_additions_of_the_applications_own_do_not_matter(old: str, new: str) -> None:
    """The application may format as it likes and add optional fields, indexes, models and enums."""
    assert _changed(old, new) == []


def test_the_order_of_fields_and_models_does_not_matter() -> None:
    """Prisma does not care about order; neither does the check."""
    models = [f"model {model}" for model in f"\n{snippet()}".split("\nmodel ")[1:]]
    line = '  lockedBy               String?   @map("locked_by")\n'
    moved = (
        "\n".join(reversed(models))
        .replace(line, "")
        .replace("  traceparent String?\n", f"  traceparent String?\n{line}")
    )
    assert missing_from(parse_schema(moved)) == []


def test_another_database_is_refused_by_name() -> None:
    """MySQL is not served, and the check says so instead of listing types."""
    schema = parse_schema('datasource db {\n  provider = "mysql"\n}\n' + snippet())
    assert missing_from(schema) == [
        "the datasource's provider is 'mysql'; fastapi_durable works with sqlite and postgresql"
    ]
