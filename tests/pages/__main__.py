"""Make the pages of docs/ that come from the code, or check that they are in step with it.

python -m tests.pages           writes them
python -m tests.pages --check   names those that are out of step, and fails
"""

import re
import sys
from pathlib import Path

from tests.generated import ROOT, write_or_check
from tests.pages.cuts import make_table
from tests.pages.graph import Node, find_arrows
from tests.pages.house import draw_house
from tests.pages.machine import draw_machine
from tests.pages.reference import make_reference

_HERE = Path(__file__).parent
_NAMES = {
    Node.GOOD: "the other is good",
    Node.EMPTY: "the other is empty",
    Node.UNTESTED: "the other is untested",
    Node.BAD: "the other is bad",
    Node.ARMED: "on trial, waits for its boot",
    Node.RUNNING: "the trial runs",
    Node.USED_UP: "attempts used up",
    Node.WEAK: "the primary is not good",
}


def make_pages(docs: Path = ROOT / "docs") -> dict[Path, str]:
    """Return what each page and picture has to hold."""
    graph = find_arrows()
    order = list(Node)
    arrows = sorted(graph.arrows, key=lambda a: (order.index(a.start), order.index(a.end), a.word))
    rows = "".join(f"| {_NAMES[a.start]} | {a.word} | {_NAMES[a.end]} |\n" for a in arrows)
    covered = re.findall(
        r"^\| is good \| ([\d,]+) ", (docs / "boot-state-coverage.md").read_text(), re.MULTILINE
    )
    return {
        docs / "pictures/state-machine.svg": draw_machine(graph.arrows),
        docs / "pictures/house.svg": draw_house(),
        docs / "state-machine.md": _fill("state-machine.in.md", rows=rows, states=f"{graph.states:,}"),
        docs / "power-cuts.md": _fill("power-cuts.in.md", rows=make_table(), states=covered[0]),
        **make_reference(docs),
    }


def _fill(name: str, **parts: str) -> str:
    return (_HERE / name).read_text("utf-8").format(**parts)


if __name__ == "__main__":
    sys.exit(write_or_check(make_pages(), "make pages", sys.argv[1:]))
