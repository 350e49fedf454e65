"""What MkDocs calls while it builds the site: fill in the generated parts, and write `llms.txt`."""

import re
from pathlib import Path
from typing import Any

from book.parts import expanded

# The site does not know where the repository is published, so the code that pages link to is named, and not linked.
_CODE = re.compile(r"\[(`[^`]+`)\]\((?:\.\./)+(?:fastapi_durable|prisma_inprocess|example_app|tests)/[^)]*\)")

_written: dict[str, tuple[str, str]] = {}


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace the marks of a page."""
    text = _CODE.sub(r"\1", expanded(markdown))
    _written[page.url] = page.title, text
    return text


def on_post_build(*, config: Any) -> None:
    """Write the index of pages, and all of them in one file, for programs that read documentation."""
    site = Path(config["site_dir"])
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}", "", "## Pages", ""]
    lines += [f"- [{title}]({url or 'index.html'})" for url, (title, _) in _written.items()]
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = "\n\n".join(text for url, (_, text) in _written.items() if not url.startswith("reference/api/"))
    (site / "llms-full.txt").write_text(whole + "\n", encoding="utf-8")
