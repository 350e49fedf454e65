"""Check the built site: `python -m book.links site`.

Every link leads to a page and an anchor of the site, and no page loads anything from elsewhere.
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
_NOT_LOADED = {"canonical", "prev", "next", "alternate"}  # relations of <link> that only name a page


class _Page(HTMLParser):
    """What a page links to, loads and offers as anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        attribute = _LOADED.get(tag)
        if attribute in found and found.get("rel") not in _NOT_LOADED:
            self.loaded.append(found[attribute])


def problems(site: Path) -> Iterator[str]:
    """Yield one line for each thing that is wrong with the site in this folder."""
    pages = {path: _read(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses begin at the root of a server
            continue
        where = path.relative_to(site)
        yield from (f"{where}: loads {url} from elsewhere" for url in page.loaded if urlsplit(url).netloc)
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{where}: {url} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {url} has no such anchor"


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def main() -> int:
    """Print what is wrong with the site named on the command line, and return the exit code."""
    site = Path(sys.argv[1]).resolve()
    found = list(problems(site))
    print("\n".join(found) or f"{sum(1 for _ in site.rglob('*.html'))} pages, every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
