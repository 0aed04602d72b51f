"""What mkdocs needs to know of this tree: which files outside of docs/ are part of the site, and where.

Links are written as they work in the repository. Here those that leave docs/ become links inside of the site,
or, for sources, plain text.
"""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
_log = get_plugin_logger("abctl")


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the schemas, and the pages that stand at the top of the tree."""
    for path in (*(ROOT / name for name in PAGES), *sorted((ROOT / "schemas").glob("*.json"))):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Turn links into the repository into links into the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(here if here in PAGES else f"docs/{here}")

    def turn(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists():
            _log.warning("%s links to %s, which does not exist", here, target)
        place = find_place(path)
        if place is None:
            return text
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"

    return _LINK.sub(turn, markdown)


def find_place(path: str) -> str | None:
    """Return where a file of the repository is in the site, or None where it is not part of it."""
    if path == "schemas":
        return "reference/schemas.md"
    if path in PAGES or path.startswith("schemas/"):
        return path
    return path.removeprefix("docs/") if path.startswith("docs/") else None
