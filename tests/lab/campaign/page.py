"""docs/reliability.md, from what the campaign found: pure but for the file."""

import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.lab.campaign.kept import Found, read_found, sum_up, write_found
from tests.lab.campaign.places import GO_ON, PLANS
from tests.lab.campaign.results import Kind, Result, load, make_rows, sum_fates
from tests.lab.campaign.sets import Set
from tests.lab.places import REPOSITORY

_WIDTH = 108
PAGE = REPOSITORY / "docs/reliability.md"
KEPT = REPOSITORY / "docs/reliability"
_PHASES = {
    "fetch": "metadata and manifest are fetched",
    "begin": "the other slot set becomes empty, in the boot environment and on the disk",
    "write": "images are written",
    "finish": "Var is emptied, the head of Boot written",
    "arm": "from the commit to the end of the command",
    "reboot": "the host goes down, GRUB spends an attempt",
    "trial": "the new release boots, and is watched",
    "settle": "it is confirmed, or its fallback recorded",
    "rest": "until the host is switched off",
}
_NAMES = {
    "a_to_b": "A to B, {old} to {new}",
    "b_to_a": "B to A, {old} to {new}",
    "falls_back": "A to B, {old} to {new}, which panics and falls back",
}
_HEAD = """\
# Reliability: what power cuts leave

Written by `make campaign`. The power goes at random moments of whole upgrades of a real Debian system on an
emulated machine ([lab.md](lab.md)): download, write, arm, reboot, trial boot, health checks, confirmation.
What the cut leaves on the disk is looked at, powered on, and followed until the host has come to rest.

"""
_HOW = """\
## How a cut is made

An upgrade is recorded once: QEMU's `blklogwrites` driver keeps each write and each flush of the disk in the
order in which the guest issued them. A cut at position P leaves the disk as it was before, with

- all entries up to the last flush that was done before P,
- of each write since then, by chance: all of it, nothing of it, or each of its sectors of 512 bytes with
  even chances, in no order. That is all that a disk with a volatile cache promises.

Positions are drawn evenly within a phase, and phases in turn, the short ones more often: a commit is a few
writes, the images are hundreds. Two cuts that leave the same bytes count once. The host has files on the
config volume and on /var, a repository that it trusts and a version that it refuses, from before the
upgrade.

## What counts as right

Before the power comes back, with abctl's own reader and the real GRUB (`grub-emu`) on the disk as it is:

- the boot environment can be read, and GRUB boots what `abctl` says it will;
- the slot set that is booted next, the primary, the one on trial and any that is called good or untested
  are releases **to the byte** in Boot and Root; the one that was upgraded from was not touched at all;
- record, trust state and evidence are no older than what was flushed; the refusal is there, and nothing is
  refused that was never at fault; the files are there.

After it: the host comes to rest in the slot set that the boot environment had decided on, all of it mounted
from that slot set, no unit failed, all required health checks passed; what runs is its release to the byte;
the primary, the verdict, the advice and the refusals of `abctl status` are what they should be, and the
copies of the boot environment were mended; the history has the confirmation or the fallback (but for what
is said above); no file was lost. One cut in {go_on}, where it did not bring the new release, is followed by
the upgrade, done again, which has to be confirmed.

"""
_LIMITS = """\
## What this does not show

A disk that lies about a flush, or that loses what it had written long before, is not played here. QEMU
notes a flush when it is done: a write that was issued while it ran counts as covered by it.
"""


def write_page(found: Set) -> None:
    """Keep what was found, and write the page of all that is kept."""
    sources = (found.folder / "sources").read_text().strip().removeprefix("stock-")
    results = load(found.folder / "results.jsonl")
    write_found(KEPT / f"{found.seed}.jsonl", sum_up(found.seed, sources, results))
    write_kept()


def write_kept() -> None:
    """Write the page of all that is kept, with what is to be said of what was not right."""
    remarks = tomllib.loads((KEPT / "remarks.toml").read_text(encoding="utf-8"))
    PAGE.write_text(render_page(read_found(KEPT.glob("*.jsonl")), remarks), encoding="utf-8")


def render_page(sets: Sequence[Found], remarks: Mapping[str, str]) -> str:
    booted = [item for found in sets for item in found.results if item.kind is Kind.BOOTED]
    return "".join(
        (
            _HEAD,
            *_render_sum(sets, booted),
            *_render_phases(booted),
            *_render_failures(sets, remarks),
            _HOW.format(go_on=GO_ON),
            *_render_repeat(sets[-1].seed),
            _LIMITS,
        )
    )


def _render_sum(sets: Sequence[Found], booted: Sequence[Result]) -> Iterable[str]:
    results = [item for found in sets for item in found.results]
    killed, looked = ([item for item in results if item.kind is kind] for kind in (Kind.KILLED, Kind.LOOKED))
    yield "| | cuts | right | not right |\n|---|---:|---:|---:|\n"
    yield _row("powered on and followed until at rest", booted)
    yield _row("QEMU killed in the middle of a live upgrade, then the same", killed)
    yield _row("looked at from outside only", looked, right=sum(found.looked for found in sets))
    yield "\n"
    disks = sum(found.looked_disks + len({item.disk for item in found.results} - {""}) for found in sets)
    fates = sum_fates(booted)
    lost = sum(1 for item in booted if item.lost_entry)
    again = [item for item in (*booted, *killed) if item.went_on is not None]
    outcomes = Counter(item.outcome for item in (*booted, *killed))
    yield _fill(
        f"These are {disks} different disks. In the cuts that were powered on, {sum(fates.values())} writes",
        f"were not flushed yet: {_list(fates)}. So the hosts ended: {_list(dict(outcomes.most_common()))};",
        '"old" is the old release, with the upgrade to be done again. Hosts on which it was done again:',
        f"{len(again)}, confirmed on {sum(1 for item in again if item.went_on)}. Cuts that fell between the",
        "confirmation and its line in the history, which lacks it (`status` tells of it all the same):",
        f"{lost}.",
    )
    repeated = sum(1 for item in (*booted, *killed) if item.is_repeated)
    if repeated:
        yield f"Cuts that were followed once more, and count as they came out then: {repeated}.\n\n"
    yield "| seed | sources | powered on |\n|---|---|---:|\n"
    for found in sets:
        count = sum(1 for item in found.results if item.kind is not Kind.LOOKED)
        yield f"| `{found.seed}` | `{found.sources}` | {count} |\n"
    yield "\n"


def _fill(*words: str) -> str:
    return textwrap.fill(" ".join(words), _WIDTH, break_on_hyphens=False) + "\n\n"


def _list(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items()) or "none"


def _row(what: str, results: Sequence[Result], right: int = 0) -> str:
    """Return a row for ``results``, and ``right`` more that were right."""
    failed = sum(1 for item in results if item.problems)
    count = len(results) + right
    return f"| {what} | {count} | {count - failed} | {failed} |\n"


def _render_phases(booted: Sequence[Result]) -> Iterable[str]:
    rows = make_rows(booted)
    for plan in PLANS:
        if not any(row.recording == plan.name for row in rows):
            continue
        yield f"## {_NAMES[plan.name].format(old=plan.old, new=plan.new)}\n\n"
        yield "| the power goes while | cuts | new release | old one | fell back | not right |\n"
        yield "|---|---:|---:|---:|---:|---:|\n"
        for phase, words in _PHASES.items():
            row = next((row for row in rows if (row.recording, row.phase) == (plan.name, phase)), None)
            if row:
                ends = (row.outcomes.get(name, 0) for name in ("confirmed", "old", "fell back"))
                numbers = " | ".join(map(str, (row.cuts, *ends, row.failed)))
                yield f"| `{phase}`: {words} | {numbers} |\n"
        yield "\n"


def _render_failures(sets: Sequence[Found], remarks: Mapping[str, str]) -> Iterable[str]:
    failed = [(found.seed, item) for found in sets for item in found.results if item.problems]
    yield "## What was not right\n\n"
    if not failed:
        yield "Nothing.\n\n"
    for seed, item in failed:
        said = "; ".join(problem.splitlines()[0] for problem in item.problems)
        yield f"- `{seed} {item.name}` ({item.kind}, in `{item.phase}`, entry {item.position}): {said}\n"
        if remark := remarks.get(f"{seed} {item.name}"):
            yield f"\n  {remark}\n"
    if failed:
        yield "\n"


def _render_repeat(seed: str) -> Iterable[str]:
    yield "## To repeat\n\n"
    yield "    make campaign N=300     until so many were powered on; goes on where it was stopped\n"
    yield "    make campaign NEW=1     record the sources as they are now, and begin anew\n"
    yield "    .venv/bin/python -m tests.lab.campaign --repeat a_to_b 17     one cut once more\n\n"
    yield f"Cut 17 of a recording is drawn by chance from the seed `{seed} a_to_b 17`, so that it is\n"
    yield "always the same one of the same recording. Recordings are kept in `.cache/lab/campaign`,\n"
    yield "results in `docs/reliability`, a file for each seed: those of several days add up.\n\n"
