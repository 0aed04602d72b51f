"""What ``abctl doctor --repair`` does: what loses nothing, and nothing in a slot. Each says what it did."""

from contextlib import suppress

from abctl.cli.doctor_patient import Patient
from abctl.core.bootenv import Copy, encode, encode_older, writing_order
from abctl.errors import StateUnwritable
from abctl.update.first import blank_config_files
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
    """Make the files of the config volume anew that are missing, or of which nothing is whole."""
    lost, damaged = patient.find_unsound()
    blank = blank_config_files()
    for path in damaged:
        patient.config_file(path, len(blank[path])).overwrite(0, blank[path])
    if patient.is_live:
        for path in lost:
            patient.config_file(path, len(blank[path])).overwrite(0, blank[path])
    elif lost:
        from abctl.host.config_volume import put_on_config_volume  # noqa: PLC0415

        put_on_config_volume(patient.disk, {path: blank[path] for path in lost})
    return f"made {', '.join((*lost, *damaged))} anew, with nothing in it"


def repair_settings(patient: Patient) -> str:
    """Write the settings anew from their last good copy; what was damaged is kept beside them."""
    assert patient.machine.config is not None
    patient.machine.config.restore_settings()
    return "wrote the settings anew from their last good copy"
