"""What ``abctl doctor --repair`` does: what loses nothing, and nothing in a slot. Each says what it did."""

from collections.abc import Sequence
from contextlib import suppress

from abctl.cli.doctor_patient import Patient
from abctl.core.bootenv import Copy, encode, encode_older, writing_order
from abctl.core.doctor import name_some
from abctl.core.halves import Harm, Unsound
from abctl.errors import StateUnwritable, WriteFailed
from abctl.update.operate import settle


def repair_boot_env(patient: Patient) -> str:
    """Write the copies anew from what is whole, as ``abctl settle`` does; make those that are missing."""
    with suppress(StateUnwritable):
        settle(patient.machine.ports)
    after = Patient(patient.target)
    if not after.observed.reading.in_step:
        # From outside nothing but this makes files anew.
        return repair_copies(after)
    return "wrote the copies of the boot environment anew, from what was whole"


def repair_copies(patient: Patient) -> str:
    """Make the files of the boot environment anew that are not what they have to be, the one in use last."""
    files, env = patient.machine.grub_files(), patient.observed.host.env
    made = []
    for copy in writing_order(patient.files):
        block = encode_older(env, patient.files.older) if copy is Copy.OLDER else encode(env)
        if files.read(copy.value) != block:
            files.put(copy.value, block)
            made.append(copy.value)
    return f"made {', '.join(made)} anew"


def repair_scripts(patient: Patient) -> str:
    """Put the scripts there that ship with abctl, as ``abctl adopt`` does."""
    from abctl.host.scripts import install_scripts  # noqa: PLC0415

    install_scripts(patient.machine.grub_files(), patient.machine.layout, None)
    return "put the scripts there that ship with this abctl"


def repair_volumes(patient: Patient) -> str:
    """Make logical volumes that are lost where the layout has them; their bytes stay what they are."""
    from abctl.core.doctor_disk import find_missing  # noqa: PLC0415
    from abctl.host.in_use import check_unused  # noqa: PLC0415
    from abctl.host.lvm import create_volume  # noqa: PLC0415

    layout, differences = patient.compared
    fitted = layout.fit_to(patient.disk.table.disk_size)
    group, home = fitted.volume_group, patient.disk.table.find(fitted.home.name)
    assert group is not None
    assert home is not None
    # Other volumes of the group may be mounted, as on a host that runs.
    check_unused(patient.path, (home.extent,), fitted.home.name, "")
    missing = find_missing(differences, fitted)
    for volume in missing:
        create_volume(patient.path, home.extent, group.name, volume)
    names = ", ".join(volume.name for volume in missing)
    return f"made {names} anew where the layout has it, with the bytes that were there"


def repair_kept(patient: Patient) -> str:
    """Make the files of the config volume anew that are missing, or what is not whole of them."""
    done = ["cleaned the file system of the config volume with e2fsck"] if _make_clean(patient) else []
    unsound = [item for item in patient.find_unsound() if item.harm is not Harm.CLOSED]
    growing = [] if patient.is_live else [item for item in unsound if item.harm in (Harm.MISSING, Harm.SHORT)]
    _put(patient, growing)
    for item in unsound:
        if item not in growing:
            file = patient.config_file(item.path, len(item.wanted))
            for offset, data in item.parts:
                file.overwrite(offset, data)
    new = [item.path for item in unsound if not item.keeps]
    halves = [item.path for item in unsound if item.keeps]
    if new:
        done.append(f"made {', '.join(new)} anew, with nothing in it")
    if halves:
        done.append(f"wrote anew what was not whole of {', '.join(halves)}, and nothing of what was")
    return ", and ".join(done) or "found nothing to mend any more"


def _make_clean(patient: Patient) -> bool:
    """What stands only in the journal of a disk looks missing; on a running host it was replayed."""
    if patient.is_live:
        return False
    from abctl.host.config_volume import make_clean  # noqa: PLC0415

    return make_clean(patient.disk)


def _put(patient: Patient, files: Sequence[Unsound]) -> None:
    """Make files of a disk from outside, where none can grow in its place."""
    from abctl.host.config_volume import put_on_config_volume  # noqa: PLC0415

    keeping = [item.path for item in files if item.keeps]
    if keeping:
        # Whatever goes wrong between removing the old one and writing the new would lose what it holds.
        raise WriteFailed(
            f"{name_some(keeping)} is too short, and what is in it counts: mount the config volume, and let "
            "abctl write there"
        )
    if files:
        short = [item.path for item in files if item.harm is Harm.SHORT]
        put_on_config_volume(patient.disk, {item.path: item.wanted for item in files}, short)


def repair_settings(patient: Patient) -> str:
    """Write the settings anew from their last good copy; what was damaged is kept beside them."""
    assert patient.machine.config is not None
    if not patient.machine.config.restore_settings():
        return "cleaned the file system of the config volume with e2fsck, and then they were sound"
    return "wrote the settings anew from their last good copy"
