"""`fastapi-durable init`: what a project lacks is written, what is there stays."""

import json
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from fastapi_durable.__main__ import main
from fastapi_durable.schema import PROVIDERS, durable_model_texts, missing_from, read_schema, snippet
from fastapi_durable.terminal.project import init

SHOP = """// ours
generator js {
  provider = "prisma-client-js"
}

datasource shop {
  provider = "postgresql"
  url      = env("SHOP_URL")
}

model Item {
  id Int @id
}"""


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_new_project_has_all_that_it_needs(tmp_path: Path, provider: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--database", provider]) == 0
    written = files(tmp_path)
    assert sorted(written) == [".env", ".gitignore", "main.py", "schema.prisma"]
    schema = read_schema(tmp_path / "schema.prisma")
    assert schema.provider == provider
    assert missing_from(schema) == []
    compile(written["main.py"], "main.py", "exec")
    assert written[".env"].startswith("DATABASE_URL=file:" if provider == "sqlite" else "DATABASE_URL=postgresql:")
    assert ".env" in written[".gitignore"].splitlines()
    said = capsys.readouterr().out
    assert said.endswith(f"  cd {tmp_path}\n  fastapi-durable migrate dev --name first\n  fastapi dev\n")
    assert ("your server's address" in said) is (provider == "postgresql")


def test_the_second_time_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", str(tmp_path)])
    before = files(tmp_path)
    capsys.readouterr()
    assert main(["init", str(tmp_path)]) == 0
    assert files(tmp_path) == before
    assert capsys.readouterr().out.startswith("All files that init writes exist already")


def test_a_project_in_the_current_folder_needs_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert "  cd " not in capsys.readouterr().out


def test_a_project_of_somebody_keeps_all_that_it_has(tmp_path: Path) -> None:
    """Its database, its models, its application; the generator of another language is none of ours."""
    (tmp_path / "schema.prisma").write_text(SHOP, encoding="utf-8")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("app = 1\n", encoding="utf-8")
    (tmp_path / ".env").write_text("KEY=x\nexport SHOP_URL = 'file:./mine.db'", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("*.db\n.env", encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 0
    text = (tmp_path / "schema.prisma").read_text(encoding="utf-8")
    assert SHOP in text
    assert text.endswith(snippet("postgresql"))
    schema = read_schema(tmp_path / "schema.prisma")
    assert [each.provider for each in schema.generators] == ["prisma_inprocess", "prisma-client-js"]
    assert missing_from(schema) == []
    assert not (tmp_path / "main.py").exists()
    assert (tmp_path / ".env").read_text(encoding="utf-8") == "KEY=x\nexport SHOP_URL = 'file:./mine.db'"
    ignored = (tmp_path / ".gitignore").read_text(encoding="utf-8")
    assert ignored.startswith("*.db\n.env\n.venv/\n")
    assert ignored.count(".env\n") == 1


def test_only_the_models_that_are_missing_are_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = durable_model_texts("sqlite")
    some = "".join(f"{text}\n" for text in list(texts.values())[:-2])
    (tmp_path / "schema.prisma").write_text(some, encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 0
    assert "schema.prisma: the generator, the datasource, 2 durable models" in capsys.readouterr().out
    schema = read_schema(tmp_path / "schema.prisma")
    assert sorted(model.name for model in schema.models) == sorted(texts)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (SHOP, ["--database", "sqlite"], "the schema's datasource is 'postgresql', and --database says 'sqlite'"),
        (SHOP.replace("postgresql", "mysql"), [], "the schema's datasource is 'mysql'; fastapi_durable works with"),
        (snippet("sqlite") + snippet("sqlite"), [], "model DurableWorkflowRun is declared 2 times; keep one"),
        (snippet().replace("  workflow  ", "  workflows "), [], "DurableWorkflowRun.workflow is missing"),
        ("model {", [], "cannot be read, nothing was written: expected a block"),
        (SHOP.replace("prisma-client-js", 'prisma-client-py"\n  output = "../x'), [], "which main.py cannot import"),
    ],
)
def test_what_must_be_changed_by_hand_is_named_and_nothing_is_written(
    tmp_path: Path, text: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schema.prisma").write_text(text, encoding="utf-8")
    assert main(["init", str(tmp_path), *options]) == 1
    assert files(tmp_path) == {"schema.prisma": text}
    assert said in capsys.readouterr().err


def test_the_application_imports_the_client_from_where_the_schema_puts_it(tmp_path: Path) -> None:
    """As a package below the project's folder; and takes the database's address from the schema's variable."""
    schema = SHOP.replace("prisma-client-js", 'prisma-client-py"\n  output = "./shop/client')
    (tmp_path / "schema.prisma").write_text(schema, encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 0
    text = (tmp_path / "main.py").read_text(encoding="utf-8")
    assert "from shop.client import Prisma" in text
    assert "Settings().shop_url" in text
    assert (tmp_path / ".env").read_text(encoding="utf-8").startswith("SHOP_URL=postgresql:")


def test_after_a_crash_between_two_files_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is there whole or not at all; `init` again completes the project."""
    whole = tmp_path / "whole"
    main(["init", str(whole)])
    for number in range(4):
        folder = tmp_path / str(number)
        changes = init.prepare(folder, None)
        init.write(changes[:number])
        assert main(["init", str(folder)]) == 0
        assert files(folder) == files(whole)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["init", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path / "file") in error
    assert error.count("\n") == 1


def test_a_project_for_containers_is_on_postgresql(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--with", "docker"]) == 0
    written = files(tmp_path)
    assert sorted(set(written) - {".env", ".gitignore", "main.py"}) == [
        ".dockerignore",
        "Dockerfile",
        "compose.yaml",
        "requirements.txt",
        "schema.prisma",
    ]
    assert read_schema(tmp_path / "schema.prisma").provider == "postgresql"
    assert written["requirements.txt"] == "fastapi-durable\n"
    assert ".env" in written[".dockerignore"].splitlines()
    assert capsys.readouterr().out.endswith("docker compose up --build\n")
    assert main(["init", str(tmp_path), "--with", "docker"]) == 0
    assert files(tmp_path) == written


def test_an_image_has_no_secret_and_a_user_who_is_not_root(tmp_path: Path) -> None:
    main(["init", str(tmp_path), "--with", "docker"])
    lines = (tmp_path / "Dockerfile").read_text(encoding="utf-8").splitlines()
    instructions = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    assert [word for word, _, _ in instructions if word not in ("COPY", "RUN")] == [
        "FROM",
        "ENV",
        "WORKDIR",
        "USER",
        "EXPOSE",
        "CMD",
    ]
    said = {word: rest for word, _, rest in instructions}
    assert said["USER"] == "10001:10001"
    assert json.loads(said["CMD"])[:3] == ["fastapi", "run", "main.py"]
    assert "DATABASE" not in "\n".join(lines)


def test_the_services_share_one_read_only_image_and_wait_for_the_migrations(tmp_path: Path) -> None:
    main(["init", str(tmp_path), "--with", "docker"])
    services = yaml.safe_load((tmp_path / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert sorted(services) == ["database", "migrate", "web", "worker"]
    for name in ("migrate", "web", "worker"):
        service = services[name]
        assert service["build"] == "."
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's
        assert service["environment"]["DATABASE_URL"].startswith("postgresql://app:${DATABASE_PASSWORD:?")
    assert services["database"]["environment"]["POSTGRES_PASSWORD"].startswith("${DATABASE_PASSWORD:?")
    assert services["database"]["healthcheck"]["test"][1] == "pg_isready"
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    for name in ("web", "worker"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["web"]["environment"]["DURABLE_ROLE"] == "api"
    assert services["worker"]["command"] == ["fastapi-durable", "worker", "main:durable"]


def test_the_files_of_containers_name_the_application_and_the_variable_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("", encoding="utf-8")
    (tmp_path / "schema.prisma").write_text(SHOP, encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("./wheels/fastapi_durable-0.1.0-py3-none-any.whl", encoding="utf-8")
    (tmp_path / "docker-compose.yml").write_text("services: {}\n", encoding="utf-8")
    assert main(["init", str(tmp_path), "--with", "docker"]) == 0
    assert '"app/main.py"' in (tmp_path / "Dockerfile").read_text(encoding="utf-8")
    assert (tmp_path / "requirements.txt").read_text(encoding="utf-8").startswith("./wheels")
    assert not (tmp_path / "compose.yaml").exists()
    (tmp_path / "docker-compose.yml").unlink()
    assert main(["init", str(tmp_path), "--with", "docker"]) == 0
    services = yaml.safe_load((tmp_path / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services["worker"]["command"][-1] == "app.main:durable"
    assert "SHOP_URL" in services["web"]["environment"]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", ["--database", "sqlite"], "--with docker runs several containers on PostgreSQL"),
        (
            snippet() + 'datasource db {\n  provider = "sqlite"\n}',
            [],
            "the schema's datasource is 'sqlite', and --with",
        ),
    ],
)
def test_containers_do_not_share_a_file_of_sqlite(
    tmp_path: Path, text: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schema.prisma").write_text(text, encoding="utf-8")
    assert main(["init", str(tmp_path), "--with", "docker", *options]) == 1
    assert files(tmp_path) == {"schema.prisma": text}
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "migrate", "db", "validate", "format"])
def test_the_clients_commands_are_offered_and_carried_out(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Under the name that was typed."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"    {command} " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: fastapi-durable {command} ")
