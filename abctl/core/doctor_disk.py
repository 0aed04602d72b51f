"""What the doctor makes of a disk, its config volume and what runs: pure, from facts to findings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from abctl.core.advice import Prompt
from abctl.core.compare import Difference, Severity
from abctl.core.doctor import Finding, Verdict, name_some, ok, some_are
from abctl.core.halves import Harm, Unsound
from abctl.core.holder import Holder
from abctl.core.layout import Layout, LogicalVolume
from abctl.core.newest import Newest
from abctl.core.slot import Slot
from abctl.core.space import Foreign, Space, is_short, say_shortage
from abctl.core.units import format_size

_FULL = 80.0  # per cent of a snapshot or pool, from where on it is time to do something
_STALE = 6 * 3600  # seconds; no upgrade takes that long


def judge_differences(differences: Sequence[Difference], what: str, command: str | None) -> Finding:
    """Is this part of the disk as the layout says? ``command`` shows all that is different."""
    found = [item for item in differences if item.severity is Severity.DIFFERENCE]
    if not found:
        return ok(f"{what} are as the layout says")
    grave = [item for item in found if item.grave]
    verdict = Verdict.FAULT if grave else Verdict.WARNING
    texts = [item.text for item in (*grave, *(item for item in found if not item.grave))]
    return Finding(verdict, _join(texts), command)


def _join(texts: Sequence[str]) -> str:
    more = len(texts) - 2
    return "; ".join(texts[:2]) + (
        f"; and {more} more difference{'' if more == 1 else 's'}" if more > 0 else ""
    )


def find_missing(differences: Iterable[Difference], layout: Layout) -> tuple[LogicalVolume, ...]:
    """Return the logical volumes that the disk lacks, with the places that the layout gives them."""
    lacking = {item.name for item in differences if item.missing}
    group = layout.volume_group
    return tuple(volume for volume in group.volumes if volume.name in lacking) if group else ()


def make_lvcreate(layout: Layout, volume: LogicalVolume, device: str) -> str:
    """Return the command that makes a lost logical volume where it was: nothing of its bytes is written."""
    assert layout.volume_group
    place = f"{device}:{volume.start_extent}-{volume.end_extent - 1}"
    name = layout.volume_group.name
    return f"lvcreate -y -Zn -Wn -n {volume.name} -l {volume.extents} {name} {place}"


# --- snapshots and thin volumes ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """What the kernel says of a logical volume: ``attributes`` as lvs(8) prints them, use in per cent."""

    name: str
    attributes: str
    data: float | None = None
    metadata: float | None = None


def judge_snapshots(volumes: Sequence[VolumeUse]) -> Finding:
    """Is a snapshot or a thin pool full, or nearly so?"""
    lost = [item.name for item in volumes if item.attributes[4:5] in ("I", "S", "F", "D", "M")]
    if lost:
        text = f"{name_some(lost)} is lost: it overflowed, or its metadata is damaged"
        return Finding(Verdict.FAULT, text, "lvs -a -o +data_percent,lv_health_status")
    full = [
        f"{item.name} is {use:.0f} % full"
        for item in volumes
        if (use := max(item.data or 0.0, item.metadata or 0.0)) >= _FULL and item.attributes[:1] in "sStV"
    ]
    if full:
        text = f"{name_some(full)}: give it more room, or remove it, before it overflows"
        return Finding(Verdict.WARNING, text, "lvs -a -o +data_percent,metadata_percent")
    return ok("no snapshot or thin pool is near its end")


# --- the config volume ------------------------------------------------------------------------------


_UNREADABLE = {
    Harm.HALF: "one half of {} cannot be read, and the other one counts: {}",
    Harm.UNREADABLE: "{} cannot be read, and what it held is lost: {}",
    Harm.CLOSED: "{} cannot be read: {}",
}


def judge_kept(
    lost: Sequence[str],
    damaged: Sequence[str],
    prompt: Prompt,
    unreadable: Sequence[Unsound] = (),
    *,
    is_unclean: bool = False,
) -> Finding:
    """Are the files whole that abctl keeps outside both slot sets?

    ``is_unclean`` says that its journal was not replayed, in which files may stand.
    """
    texts = []
    if damaged:
        texts.append(f"{name_some(damaged)} is damaged, and what it held is lost")
    if lost:
        where = ", or hidden, for the file system was not left clean" if is_unclean else ""
        texts.append(f"{some_are(lost)} missing{where}")
    texts += _say_unreadable(unreadable)
    if not texts:
        return ok("record, evidence, marks and what is known of the repository are whole")
    grave = damaged or any(item.harm is not Harm.HALF for item in unreadable)
    finding = Finding(
        Verdict.FAULT if grave else Verdict.WARNING, f"on the config volume, {' and '.join(texts)}"
    )
    if lost or damaged or any(item.harm is not Harm.CLOSED for item in unreadable):
        return finding.with_repair(prompt)
    return finding


def _say_unreadable(unreadable: Sequence[Unsound]) -> list[str]:
    """Return a sentence for each cause: where the file system is damaged, all files have the same."""
    names: dict[tuple[Harm, str], list[str]] = {}
    for item in unreadable:
        names.setdefault((item.harm, item.problem), []).append(item.path)
    return [_UNREADABLE[harm].format(name_some(found), why) for (harm, why), found in names.items()]


# --- locks, watchdogs and units ---------------------------------------------------------------------


def judge_lock(holder: Holder | None) -> Finding:
    """Does an abctl that does not go on keep all others from working?"""
    if holder is None:
        return ok("no other abctl works on it")
    if holder.stopped:
        text = (
            f"{holder.sentence} was stopped in the middle of its work: nothing can be changed until it ends"
        )
        return Finding(Verdict.FAULT, text, f"kill -CONT {holder.pid}")
    if holder.age is not None and holder.age > _STALE:
        text = f"{holder.sentence} works on it for hours: it hangs"
        return Finding(Verdict.WARNING, text, f"kill {holder.pid}")
    return ok(f"{holder.sentence} works on it at this moment")


def judge_watchdogs(identities: Sequence[str], *, has_softdog: bool) -> Finding:
    """Is there a watchdog that ends a trial whose kernel hangs?"""
    if not identities and has_softdog:
        return ok("a trial loads softdog: it needs a kernel that still runs, a device would not")
    if not identities:
        text = "there is no watchdog: a trial whose kernel hangs would hang for ever"
        return Finding(Verdict.WARNING, text, "modprobe softdog")
    if all("software" in name.lower() for name in identities):
        return ok(f"{name_some(identities)}: it needs a kernel that still runs, a device would not")
    return ok(name_some(identities))


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as ``systemctl show`` has it."""

    name: str
    load: str
    active: str
    file: str = ""


def judge_own_units(units: Sequence[UnitState], must_run: frozenset[str]) -> Finding:
    """Are abctl's units there, and do those run that have to?"""
    until_reboot = [unit.name for unit in units if unit.file == "masked-runtime"]
    checks = (
        (until_reboot, "is masked until the next boot", "systemctl unmask --runtime"),
        ([unit.name for unit in units if unit.load == "masked"], "is masked", "systemctl unmask"),
        ([unit.name for unit in units if unit.load != "loaded"], "is not there", "systemctl status"),
        ([unit.name for unit in units if unit.active == "failed"], "failed", "systemctl status"),
        (
            [unit.name for unit in units if unit.name in must_run and unit.active != "active"],
            "does not run",
            "systemctl restart",
        ),
    )
    for names, what, command in checks:
        if names:
            return Finding(Verdict.FAULT, f"{name_some(names)} {what}", f"{command} {names[0]}")
    return ok(f"{len(units)} units of abctl are there, and those run that have to")


def judge_space(space: Space, foreign: Foreign | None, command: str | None) -> Finding:
    """Is there room on the config volume? What abctl keeps there has its room already.

    ``foreign`` is what takes most room of all that is not abctl's, ``command`` what shows more.
    """
    if is_short(space):
        sentence = say_shortage(space, foreign)
        return Finding(Verdict.WARNING, sentence, foreign.command if foreign else command)
    return ok(f"{format_size(space.f_bavail * space.f_frsize)} are free on the config volume")


def judge_settings(problems: Sequence[str], prompt: Prompt, *, is_copy: bool, is_damaged: bool) -> Finding:
    """Do the settings count that both slot sets share? ``is_copy`` where the last good copy does instead."""
    if not problems:
        return ok("the settings are sound, or there are none")
    finding = Finding(Verdict.FAULT if is_damaged and not is_copy else Verdict.WARNING, "; ".join(problems))
    if is_copy:
        return finding.with_repair(prompt)
    return replace(finding, command=prompt.on_host("abctl identity set --help"))


def judge_room(newest: Newest | None, rooms: Mapping[Slot, int]) -> Finding:
    """Does the newest release that was on offer fit into the slots that it would be written to?"""
    if newest is None:
        return ok("nothing that was on offer says how large it is")
    lacking = [
        f"{slot} has {format_size(room)}, and its {slot.part} takes {format_size(newest.sizes[slot.part])}"
        for slot, room in rooms.items()
        if room < newest.sizes[slot.part]
    ]
    if lacking:
        what = f"{newest.version}, the newest on offer, does not fit: {'; '.join(lacking)}"
        return Finding(Verdict.FAULT, f"{what}. Give the slot more room, or have a smaller release published")
    return ok(f"{newest.version}, the newest that was on offer, fits into the slots")
