"""Writes docs/boot-state-coverage.md: what the enumeration of the boot states covers (`make coverage`)."""

import time
from pathlib import Path

from abctl.core.bootenv import read_boot_env
from tests.enumeration import events_of, faults_of
from tests.test_boot_enumeration import reach_everything
from tests.world import Kind

PAGE = Path(__file__).resolve().parents[1] / "docs/boot-state-coverage.md"
_TEXT = """\
# What the enumeration of the boot states covers

`tests/test_boot_enumeration.py` starts from a new host with A, and one with B, as the primary, and follows
every event (power on, install, confirm, give up, roll back, mark bad, allow) in every state that can be
reached, with a power cut before, within (from either end) and after every write, GRUB's own included.
After each, the invariants of `tests/invariants.py` are checked: power fails again at once, and GRUB is
started until it settles, once with nobody there, once with health checks that give up every trial. Then
every state whose copies are in step is broken in one place (each copy lost, torn, or not to be written;
both copies lost; a kernel lost), checked, and, with a release that never runs, taken through every event
once more.

The decisions and writes are production code. A power-on is `next_boot`, which `tests/test_next_boot.py`
holds to the shipped scripts in GRUB's own interpreter, in every state that can be written down. The
states of the copies count without their generation numbers. Made by `make coverage`.

| a release that | states | events | refused | cuts | states with one thing broken | events after that |
|---|---|---|---|---|---|---|
"""

_KINDS = {
    Kind.GOOD: "is good",
    Kind.PANICS: "panics",
    Kind.NO_KERNEL: "has no kernel",
}


def main() -> None:
    began, rows = time.monotonic(), []
    for kind, name in _KINDS.items():
        walk = reach_everything(kind)
        in_step = [state for state in walk.states.values() if read_boot_env(state.files).in_step]
        broken = sum(len(list(faults_of(state))) for state in in_step)
        after = broken * len(list(events_of(walk.releases))) if kind is not Kind.GOOD else 0
        numbers = (len(walk.states), walk.events, walk.refused, walk.cuts, broken, after)
        rows.append(
            f"| {name} | " + " | ".join(f"{number:,}" if number else "-" for number in numbers) + " |\n"
        )
    PAGE.write_text(_TEXT + "".join(rows))
    print(f"{PAGE.name} written in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
