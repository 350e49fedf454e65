"""Projects to migrate, on both databases."""

from pathlib import Path

import pytest

from tests.prisma_inprocess.migrate.workshop import USERS, Workshop


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def workshop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A project with one model, no migrations, and an empty database."""
    provider: str = request.param
    url: str = request.getfixturevalue("empty_sqlite_url" if provider == "sqlite" else "empty_postgres_url")
    monkeypatch.setenv("DATABASE_URL", url)
    for name in ("CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "project"
    root.mkdir()
    made = Workshop(root, provider, url)
    made.write_schema(USERS)
    return made


only_sqlite = pytest.mark.parametrize("workshop", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("workshop", ["postgresql"], indirect=True)
