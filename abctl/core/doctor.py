"""What the doctor makes of what was found: pure, from facts to findings.

A sentence starts in lower case and has no full stop. A command is what mends it; ``can_repair`` says that
``doctor --repair`` does it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from abctl.core.advice import Prompt
from abctl.core.bootenv import BLOCK_SIZE, BootEnv, Copy, EnvFiles, Reading, SlotState, Why
from abctl.core.envblock import parse_block
from abctl.core.events import Running
from abctl.core.found import SECTOR, Extent
from abctl.core.slot import SlotName
from abctl.core.units import Version

_SOME = 3  # things that one sentence names


class Verdict(StrEnum):
    """How one check went, the best first."""

    OK = "ok"
    UNKNOWN = "unknown"  # it could not be looked at
    WARNING = "warning"  # the host runs and upgrades, but an admin should know
    FAULT = "fault"  # the host may be lost, or cannot be upgraded


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what mends it."""

    verdict: Verdict
    sentence: str
    command: str | None = None
    can_repair: bool = False

    def with_repair(self, prompt: Prompt) -> "Finding":
        """Return the same with the command that lets the doctor repair it."""
        return replace(self, command=prompt.command("doctor --repair"), can_repair=True)


def ok(sentence: str) -> Finding:
    return Finding(Verdict.OK, sentence)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict, ok where nothing was found."""
    return max((finding.verdict for finding in findings), key=list(Verdict).index, default=Verdict.OK)


def name_some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _SOME
    return ", ".join(names[:_SOME]) + (f" and {more} more" if more > 0 else "")


def some_are(names: Sequence[str]) -> str:
    """Return the same as the beginning of a sentence."""
    return f"{name_some(names)} {'is' if len(names) == 1 else 'are'}"


# --- the boot environment ---------------------------------------------------------------------------


def judge_boot_env(reading: Reading, prompt: Prompt, *, adopted: bool) -> Finding:
    """Are all copies whole, and do they say the same? ``adopted`` says that this host has or had them."""
    if not adopted:
        command = prompt.command("adopt")
        return Finding(Verdict.WARNING, "the boot state is still that of the older system", command)
    if reading.env is None:
        found = Finding(Verdict.FAULT, "the boot environment is lost: no copy of it can be read")
        return found.with_repair(prompt)
    if reading.damage:
        return Finding(Verdict.FAULT, "; ".join(reading.damage)).with_repair(prompt)
    if not reading.in_step:
        return Finding(
            Verdict.WARNING, "the copies are whole, but do not say the same: a write was cut short"
        ).with_repair(prompt)
    return ok(f"both copies are whole and say the same, in generation {reading.env.generation}")


def judge_grub_wrote(  # noqa: PLR0911 - a table
    running: Running, reading: Reading, files: EnvFiles, prompt: Prompt
) -> Finding:
    """Did what GRUB wrote at this boot reach the disk? The kernel's command line is the witness."""
    told, env = running.generation, reading.env
    if told is None:
        return Finding(Verdict.UNKNOWN, "the kernel's command line does not say what GRUB read")
    if env is None:
        return Finding(Verdict.UNKNOWN, "the boot environment is lost, so there is nothing to compare with")
    check = prompt.on_host("fsck.vfat -n /dev/disk/by-partlabel/grub")
    if running.why is Why.UNSAVED:
        return Finding(Verdict.FAULT, "GRUB could not write the boot environment at this boot", check)
    if told > env.generation:
        text = (
            f"GRUB read generation {told} at this boot, and the newest here is {env.generation}: writes were "
            "lost, or GRUB reads another disk"
        )
        return Finding(Verdict.FAULT, text, check)
    if told == 0:
        return Finding(Verdict.WARNING, "GRUB found no whole copy of the boot environment at this boot")
    if running.why is Why.TRIAL and told == env.generation and running.attempts is not None:
        return _judge_spent(running.attempts, files, check)
    since = "" if told == env.generation else f"; since then it has come to {env.generation}"
    return ok(f"GRUB read generation {told} at this boot{since}")


def _judge_spent(told: int, files: EnvFiles, check: str | None) -> Finding:
    """Compare what GRUB said of the attempts that are left with what stands in each copy."""
    stand = {
        copy: values.get("attempts")
        for copy in (Copy.FIRST, Copy.SECOND)
        if (values := parse_block(files[copy])) is not None
    }
    unspent = [copy for copy, attempts in stand.items() if attempts != str(told)]
    if not unspent:
        who = "both copies say" if len(stand) > 1 else " ".join((*stand, "says"))
        return ok(f"GRUB spent an attempt at this boot, and {who} that {told} are left")
    text = (
        f"GRUB told the kernel that {told} {'attempt is' if told == 1 else 'attempts are'} left, but "
        f"{' and '.join(unspent)} still {'says' if len(unspent) == 1 else 'say'} {stand[unspent[0]]}: "
        "what GRUB writes does not stay"
    )
    return Finding(Verdict.WARNING if len(unspent) < len(stand) else Verdict.FAULT, text, check)


# --- the grub partition -----------------------------------------------------------------------------


def judge_places(places: Mapping[str, tuple[Extent, ...] | None], prompt: Prompt) -> Finding:
    """Do the copies lie where GRUB and abctl can overwrite them in place, each in one sector?

    Missing ones are another check's business.
    """
    wrong = []
    for copy in (Copy.FIRST, Copy.SECOND):
        found = places.get(copy.value)
        if found is None:
            continue
        size = sum(extent.length for extent in found)
        if size != BLOCK_SIZE:
            wrong.append(f"{copy} has {size} bytes instead of {BLOCK_SIZE}")
        elif len(found) > 1 or found[0].offset % SECTOR:
            wrong.append(f"{copy} does not lie in one sector, so a torn write could mix two states")
    if wrong:
        return Finding(Verdict.FAULT, "; ".join(wrong)).with_repair(prompt)
    return ok("the file system is whole, and each copy of the boot environment lies in one sector")


def judge_scripts(
    missing: Sequence[str], differing: Sequence[str], *, adopted: bool, sound: bool | None, prompt: Prompt
) -> Finding:
    """Are GRUB's scripts those that ship with abctl? ``sound`` says that GRUB decides right with those there.

    ``adopted`` says that this host has abctl's boot environment; ``sound`` is None where nobody could try.
    """
    if not adopted:
        text = "GRUB runs the older system's scripts, and would not try a release"
        return Finding(Verdict.WARNING, text, prompt.command("adopt"))
    if missing:
        lost = Finding(Verdict.FAULT, f"on the grub partition, {some_are(missing)} missing")
        return lost.with_repair(prompt)
    if not differing:
        return ok("they are those that ship with this abctl")
    whose = "the one" if len(differing) == 1 else "those"
    what = f"on the grub partition, {some_are(differing)} not {whose} of this abctl"
    if sound:
        text = f"{what}, but GRUB decides the same with it: it is of another version"
        return Finding(Verdict.WARNING, text, prompt.command("adopt"), can_repair=True)
    why = (
        "GRUB does not decide with it as it should"
        if sound is False
        else "and whether GRUB can use it is not known"
    )
    return Finding(Verdict.FAULT, f"{what}: {why}", prompt.command("adopt"), can_repair=True)


# --- slot sets --------------------------------------------------------------------------------------


def judge_kernels(
    env: BootEnv, kernels: Mapping[SlotName, bool], *, by_grub: bool, command: str | None
) -> Finding:
    """Does GRUB find the kernel of each slot set that it may have to boot? ``command`` is what mends it."""
    wanted = [name for name in SlotName if env[name].state is not SlotState.EMPTY]
    lacking = [name for name in wanted if not kernels[name]]
    who = "GRUB" if by_grub else "abctl (there is no grub-emu to ask GRUB)"
    if not lacking:
        return ok(
            f"{who} finds and reads the kernel of {_name_sets(wanted)}"
            if wanted
            else "there is nothing to boot yet"
        )
    only_bad = all(env[name].state is SlotState.BAD for name in lacking)
    text = f"{who} finds no kernel in {_name_sets(lacking)}"
    return Finding(Verdict.WARNING if only_bad else Verdict.FAULT, text, command)


def _name_sets(names: Sequence[SlotName]) -> str:
    return f"slot set{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def judge_versions(env: BootEnv, versions: Mapping[SlotName, Version | None], prompt: Prompt) -> Finding:
    """Do the slot sets hold what the boot environment says?"""
    wrong = [
        f"slot set {name} is said to hold {said}, but its files say {found}"
        for name in SlotName
        if (said := env[name].version)
        and env[name].state is not SlotState.EMPTY
        and (found := versions[name])
        and found != said
    ]
    if wrong:
        return Finding(Verdict.WARNING, "; ".join(wrong), prompt.command("history"))
    return ok("the slot sets hold the releases that the boot environment names")
