"""Put new files into an ext4 file system that is not mounted, by debugfs."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from abctl.core.found import Extent
from abctl.errors import ToolFailed, WriteFailed
from abctl.host.block import ExtentVolume
from abctl.host.ext4 import is_ext4
from abctl.host.loop import attach_loop
from abctl.host.run import run

# Of the superblock: s_state, and s_feature_incompat.
_STATE, _VALID, _ERRORS = Extent(1024 + 0x3A, 2), 0x1, 0x2
_FEATURES, _NEEDS_RECOVERY = Extent(1024 + 0x60, 4), 0x4


def is_unclean(volume: ExtentVolume) -> bool:
    """Whether an ext4 has known errors, or a journal that the next mount writes over all that is there."""
    if not is_ext4(volume):
        return False
    state, features = (
        int.from_bytes(volume.read(field.offset, field.length), "little") for field in (_STATE, _FEATURES)
    )
    return bool(features & _NEEDS_RECOVERY) or state & (_VALID | _ERRORS) != _VALID


def make_clean(image: Path, place: Extent) -> None:
    """Replay the journal of the ext4 at ``place`` of the disk, and mend what is safe; raise ToolFailed."""
    with attach_loop(image, place, writable=True) as device:
        try:
            run("e2fsck", "-p", device)
        except ToolFailed:
            # It ends with 1 where it mended something, too; then the second run finds nothing.
            run("e2fsck", "-p", device)


def put_files(
    image: Path, place: Extent, files: Mapping[str, bytes], *, instead_of: Iterable[str] = ()
) -> None:
    """Make these files, by path, in the ext4 at ``place`` of the disk; their folders too. Raise WriteFailed.

    No file of such a name may be there, save ``instead_of``, which are removed. debugfs replays no journal:
    where one is left (``is_unclean``), ``make_clean`` has to come first.
    """
    with (
        attach_loop(image, place, writable=True) as device,
        tempfile.TemporaryDirectory(prefix="abctl-") as folder,
    ):
        commands = [f"mkdir {parent}" for parent in _folders_of(files)]
        commands += [f"rm {path}" for path in instead_of]
        for number, (path, data) in enumerate(files.items()):
            source = Path(folder) / f"file{number}"
            source.write_bytes(data)
            commands.append(f"write {source} {path}")
        script = Path(folder) / "commands"
        script.write_text("\n".join(commands) + "\n")
        run("debugfs", "-w", "-f", str(script), device)
        for path, data in files.items():
            _check(device, path, data, Path(folder) / "back")


def _folders_of(files: Mapping[str, bytes]) -> list[str]:
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    return sorted(folders - {"."})


def _check(device: str, path: str, data: bytes, back: Path) -> None:
    """debugfs says of a full file system on stderr only, and ends with 0."""
    back.unlink(missing_ok=True)
    run("debugfs", "-R", f"dump {path} {back}", device)
    if not back.exists() or back.read_bytes() != data:
        raise WriteFailed(f"{path} cannot be made: the config volume has no room for it, or is damaged")
