"""What the dashboard's page asks for."""

import re
from importlib.resources import files


def test_the_page_asks_for_every_module_at_once() -> None:
    """One that is missing there would be asked for only when the module that imports it has come."""
    folder = files("fastapi_durable.web").joinpath("dashboard")
    page = folder.joinpath("index.html").read_text()
    asked = re.findall(r'<(?:link rel="modulepreload" href|script type="module" src)="assets/([^"]+)"', page)
    assert sorted(asked) == sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".js"))
