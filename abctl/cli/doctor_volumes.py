"""What the doctor checks of a disk: partitions, volumes, their room, and what is on the config volume."""

from abctl.cli.doctor_patient import Patient
from abctl.core.doctor import Finding, Verdict, ok
from abctl.core.doctor_disk import (
    find_missing,
    judge_differences,
    judge_kept,
    judge_room,
    judge_settings,
    judge_snapshots,
    judge_space,
    make_lvcreate,
)
from abctl.core.halves import Harm
from abctl.core.newest import find_newest
from abctl.core.slot import Slot
from abctl.core.space import is_short


def _show_differences(patient: Patient) -> str:
    layout = f"--layout {patient.target.layout} " if patient.target.layout else ""
    return f"abctl {layout}disk check {patient.path}"


def look_at_partitions(patient: Patient) -> Finding:
    _, differences = patient.compared
    mine = [item for item in differences if not item.in_group]
    return judge_differences(mine, "the partitions", _show_differences(patient))


def look_at_volumes(patient: Patient) -> Finding:
    layout, differences = patient.compared
    if layout.volume_group is None:
        return ok("this layout has no volume group")
    mine = [item for item in differences if item.in_group]
    finding = judge_differences(mine, "the volume group and its volumes", _show_differences(patient))
    missing = find_missing(mine, layout)
    if not missing:
        return finding
    if not patient.is_live:
        return finding.with_repair(patient.prompt)
    device = f"/dev/disk/by-partlabel/{layout.home.name}"
    fitted = layout.fit_to(patient.disk.table.disk_size)
    command = make_lvcreate(fitted, find_missing(mine, fitted)[0], device)
    return Finding(finding.verdict, finding.sentence, command)


def look_at_snapshots(patient: Patient) -> Finding:
    from abctl.host.volume_use import read_volume_use  # noqa: PLC0415

    group = patient.machine.layout.volume_group
    if group is None:
        return ok("this layout has no volume group")
    return judge_snapshots(read_volume_use(group.name))


def look_at_room(patient: Patient) -> Finding:
    """Would the next upgrade find room?"""
    newest = find_newest(patient.machine.trust.read(), patient.machine.layout.name)
    target, rooms = patient.observed.host.env.primary.other, {}
    for part in newest.sizes if newest else ():
        slot = Slot(target, part)
        with patient.machine.ports.slots.open_for_reading(slot) as volume:
            rooms[slot] = volume.size
    return judge_room(newest, rooms)


# --- what outlasts a slot set -----------------------------------------------------------------------


def look_at_kept(patient: Patient) -> Finding:
    """Is the config volume there, and what abctl keeps on it?"""
    if patient.is_live:
        from abctl.host.mounts import MountTable  # noqa: PLC0415

        if MountTable().find("/boot/config") is None:
            text = "the config volume is not mounted on /boot/config"
            return Finding(Verdict.FAULT, text, "systemctl start boot-config.mount")
    unsound = patient.find_unsound()
    lost = [item.path for item in unsound if item.harm in (Harm.MISSING, Harm.SHORT)]
    damaged = [item.path for item in unsound if item.harm is Harm.DAMAGED]
    unreadable = [item for item in unsound if item.problem]
    is_unclean = bool(lost) and patient.is_unclean()
    return judge_kept(lost, damaged, patient.prompt, unreadable, is_unclean=is_unclean)


def look_at_space(patient: Patient) -> Finding:
    volume, command = patient.machine.config, patient.prompt.on_host("du -xah /boot/config | sort -h | tail")
    assert volume is not None
    space = volume.space()
    # What fills it takes a walk over all that it holds.
    return judge_space(space, volume.foreign() if is_short(space) else None, command)


def look_at_settings(patient: Patient) -> Finding:
    assert patient.machine.config is not None
    read = patient.machine.config.settings()
    return judge_settings(
        read.warnings, patient.prompt, is_copy=read.is_copy, is_damaged=read.is_damaged or read.is_away
    )
