"""Find links in the documentation that lead nowhere: no such file, or no such heading in it.

python -m tests.links     names them, and fails where there are any
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^(?: {4}|\t).*$|^```[\s\S]*?^```", re.MULTILINE)
_WORDS = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} (.+?) *#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z]+:")


def list_pages(root: Path) -> list[Path]:
    """Return all pages that people read."""
    return [path for name in TOP if (path := root / name).exists()] + sorted((root / "docs").rglob("*.md"))


def find_broken(root: Path) -> list[str]:
    """Return a sentence for each link that leads nowhere."""
    return [f"{page.relative_to(root)}: {fault}" for page in list_pages(root) for fault in _check(page)]


def _check(page: Path) -> Iterator[str]:
    for target in _LINK.findall(_WORDS.sub("", _read_text(page))):
        if _ELSEWHERE.match(target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path) if path else page
        if not goal.exists():
            yield f"there is no {target}"
        elif anchor and goal.suffix == ".md" and anchor not in _anchors(goal.resolve()):
            yield f"no heading of {path or 'this page'} makes #{anchor}"


def _read_text(page: Path) -> str:
    """Return a page without its blocks of code, in which nothing is a link or a heading."""
    return _BLOCK.sub("", page.read_text("utf-8"))


@cache
def _anchors(page: Path) -> frozenset[str]:
    """Return what the headings of a page are called in links, by the rule of Python's markdown."""
    return frozenset(_slug(heading) for heading in _HEADING.findall(_read_text(page)))


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def main() -> int:
    """Print what is broken."""
    broken = find_broken(ROOT)
    for fault in broken:
        print(fault, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
