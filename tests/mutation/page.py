"""docs/mutation.md: how many changes were noticed, and which were not, and why."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tests.mutation.mutant import Mutant, Verdict
from tests.mutation.places import REASONS

WANTED = 90.0  # percent killed, or each survivor explained
OPEN = "NOT EXPLAINED"
_TEXT = """\
# Small changes to the core, and whether the tests notice

`make mutation` lets mutmut change one thing at a time in `abctl/core` (a comparison, a constant, an
argument, a word of a message) and runs those of the selected tests ([tool.mutmut] in pyproject.toml) that
come to the function. A change that no test notices survives. It goes on where it stopped, also on another
machine ([what is decided](mutation/decided.json)), tries what survived once more, and runs for an hour
unless told otherwise (`make mutation SECONDS=600`; `MODULES="bootenv grub"` tries all of these anew). What
is wanted: 90 % noticed in each module, or a reason for each survivor.

Tests by examples (hypothesis) try 20 of them here, and 100 otherwise. The tests that drive the real GRUB,
real disks and whole commands are too slow for this; what only they notice counts as survived here. Changes
to whole features, tried against all tests, are in [mutants.md](mutants.md).

| module | changes | noticed | of these by a time-out | survived | no test comes there | not tried | noticed |
|---|---|---|---|---|---|---|---|
"""


def make_page(known: Mapping[str, Sequence[Mutant]], reasons: Mapping[str, tuple[int, str]]) -> str:
    """Return the page; ``reasons`` say of a function how many may survive, and why."""
    rows: list[str] = []
    notes: list[str] = []
    lacking: list[str] = []
    for module, mutants in known.items():
        if not any(item.verdict is not Verdict.NOT_TRIED for item in mutants):
            if mutants:
                lacking.append(f"{module} ({len(mutants)})")
            continue
        rows.append(_make_row(module, mutants))
        notes += _make_notes(module, mutants, reasons)
    rows.append(_make_row("together", [item for mutants in known.values() for item in mutants]))
    untried = f"\nNot tried yet, with their numbers of changes: {', '.join(lacking)}.\n" if lacking else ""
    return _TEXT + "".join(rows) + untried + "\n## What survived, and why\n" + "".join(notes)


def _share_of(mutants: Iterable[Mutant]) -> float:
    """Return how many of those that were tried are noticed, in percent."""
    tried = [item.verdict for item in mutants if item.verdict is not Verdict.NOT_TRIED]
    return 100 * sum(verdict.is_noticed for verdict in tried) / max(1, len(tried))


def _make_row(module: str, mutants: Sequence[Mutant]) -> str:
    count = {verdict: sum(item.verdict is verdict for item in mutants) for verdict in Verdict}
    noticed = count[Verdict.KILLED] + count[Verdict.TIMEOUT]
    cells = (
        *(module, len(mutants), noticed, count[Verdict.TIMEOUT], count[Verdict.SURVIVED]),
        *(count[Verdict.NO_TESTS], count[Verdict.NOT_TRIED], f"{_share_of(mutants):.1f} %"),
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def _make_notes(
    module: str, mutants: Sequence[Mutant], reasons: Mapping[str, tuple[int, str]]
) -> Iterable[str]:
    survivors = defaultdict(list)
    for item in mutants:
        if item.verdict in (Verdict.SURVIVED, Verdict.NO_TESTS):
            survivors[item.function].append(item)
    if survivors:
        yield f"\n### {module}\n\n"
    for function, items in survivors.items():
        allowed, why = reasons.get(function, (0, ""))
        is_open = allowed < len(items) and _share_of(mutants) < WANTED
        texts = (f"`{function.partition('.')[2]}`, {len(items)}", why, OPEN if is_open else "")
        yield f"- {': '.join(filter(None, texts))}\n\n"
        yield "".join(f"      {line}\n" for line in sorted(_lines_of(items))) + "\n"


def _lines_of(mutants: Iterable[Mutant]) -> set[str]:
    """Return the changed lines, as the mutants have them."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415 - it looks for its tree

    diffs = (get_diff_for_mutant(item.key) for item in mutants)
    return {line[1:].strip() for diff in diffs for line in diff.splitlines() if re.match(r"\+(?!\+\+)", line)}


def read_reasons() -> dict[str, tuple[int, str]]:
    """Return how many survivors each function may have, and why."""
    tables = tomllib.loads(REASONS.read_text())
    return {function: (table["survivors"], table["why"]) for function, table in tables.items()}
