"""The models that the package declares, and how they are printed."""

from fastapi_durable.schema import PROVIDERS, durable_managed_tables, durable_models, snippet

_CAMEL_CASE_SPELT_OUT = {
    "workflowVersion": "workflow_version",
    "awaitingDecisionTaskId": "awaiting_decision_task_id",
    "searchAttributes": "search_attributes",
    "parallelGroup": "parallel_group",
    "publishedAt": "published_at",
}


def test_the_tables_are_those_of_the_reference_and_four_of_our_own() -> None:
    """Six tables by the names that nestjs-durable reads, then what it does not know."""
    assert durable_managed_tables() == (
        "durable_workflow_runs",
        "durable_run_attributes",
        "durable_step_checkpoints",
        "durable_signal_waiters",
        "durable_buffered_signals",
        "durable_buffered_events",
        "durable_schedules",
        "durable_workers",
        "durable_queues",
        "durable_stream_items",
    )


def test_columns_are_snake_case() -> None:
    """Fields are camelCase as in Prisma, columns are snake_case as in the reference."""
    columns = {field.name: field.column for model in durable_models() for field in model.fields.values()}
    assert {field: columns[field] for field in _CAMEL_CASE_SPELT_OUT} == _CAMEL_CASE_SPELT_OUT
    assert [column for column in columns.values() if column != column.lower()] == []


def test_what_is_added_to_the_reference_lets_a_nest_client_insert() -> None:
    """Every field that nestjs-durable does not know is optional or has a default."""
    additions = {
        "DurableWorkflowRun": ["wakeCount", "parentRunId", "parentSeq", "expiresAt", "traceparent"],
        "DurableBufferedSignal": ["signalId", "createdAt"],
    }
    models = {model.name: model for model in durable_models()}
    for model, names in additions.items():
        for name in names:
            field = models[model].fields[name]
            assert field.optional or field.default is not None, f"{model}.{name}"


def test_the_providers_differ_in_the_signals_id_and_the_tags_index_only() -> None:
    """SQLite counts Int only, and has no index over the values of a JSON array."""
    sqlite, postgresql = (snippet(provider).splitlines() for provider in PROVIDERS)
    only_sqlite = [line.split() for line in sqlite if line not in postgresql]
    only_postgresql = [line.split() for line in postgresql if line not in sqlite]
    assert only_sqlite == [["id", "Int", "@id", "@default(autoincrement())"]]
    assert only_postgresql == [
        ["@@index([tags(ops:", "JsonbPathOps)],", "type:", "Gin)"],
        ["id", "BigInt", "@id", "@default(autoincrement())"],
    ]
