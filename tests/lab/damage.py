"""What happens to a disk between two power-ons: written from outside, by abctl's own map of it."""

import tempfile
from pathlib import Path

from abctl.core.bootenv import Copy
from abctl.core.grub import choose_copy, save_in_copies
from abctl.core.layout import Role
from abctl.core.slot import Slot
from abctl.host.disk import DiskGrubPartition, open_disk
from tests.lab.ext4 import Edit, edit_image
from tests.lab.prepare import run_abctl
from tests.releases import digest_of


def install_trial(disk: Path, release: Path, *, attempts: int = 3, booted: str = "A") -> None:
    """Put a release into the other slot set of a disk, on trial, by the production command.

    With fewer ``attempts`` it is as if some had been spent at the menu, where no kernel ran.
    """
    sha256 = digest_of(release / "manifest.json")
    run_abctl("--disk", disk, "--booted", booted, "upgrade", release, "--sha256", sha256, "--quiet")
    leave_attempts(disk, attempts)


def leave_attempts(disk: Path, attempts: int) -> None:
    """Save the attempts that are left, as GRUB does it."""
    grub = DiskGrubPartition(open_disk(disk))
    files = grub.read()
    spent, saved = save_in_copies(files, choose_copy(files)[0], "attempts", str(attempts))
    assert saved
    for copy in (Copy.FIRST, Copy.SECOND):
        block = spent[copy]
        if block is not None and block != files[copy]:
            grub.overwrite(copy, block)


def edit_slot(disk: Path, slot: Slot, *edits: Edit) -> None:
    """Change files in a slot of a disk that is switched off."""
    found = open_disk(disk)
    with (
        tempfile.TemporaryDirectory(dir=disk.parent) as folder,
        found.open_volume(found.layout.find_slot(slot), writable=True) as volume,
    ):
        image = Path(folder) / "slot.img"
        image.write_bytes(volume.read(0, volume.size))
        edit_image(image, *edits)
        volume.write(0, memoryview(image.read_bytes()))
        volume.flush()


def destroy_copies(disk: Path, *copies: Copy) -> None:
    """Overwrite copies of the boot environment with what is no block at all."""
    grub = DiskGrubPartition(open_disk(disk))
    for copy in copies:
        block = grub.read()[copy]
        assert block is not None
        grub.overwrite(copy, b"\xa5" * len(block))


def places_of_copies(disk: Path) -> tuple[int, ...]:
    """Return the offsets on the disk of the two copies of the boot environment."""
    found = open_disk(disk)
    places = []
    for copy in (Copy.FIRST, Copy.SECOND):
        with found.open_file(Role.GRUB, copy.value) as file:
            places.append(file.extents[0].offset)
    return tuple(places)


def head_of(disk: Path, slot: Slot, size: int = 1024 * 1024) -> bytes:
    """Return the first bytes of a slot."""
    found = open_disk(disk)
    with found.open_volume(found.layout.find_slot(slot)) as volume:
        return volume.read(0, size)
