"""Put new files into an ext4 file system that is not mounted, by debugfs."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from abctl.core.found import Extent
from abctl.errors import WriteFailed
from abctl.host.loop import attach_loop
from abctl.host.run import run


def put_files(
    image: Path, place: Extent, files: Mapping[str, bytes], *, instead_of: Iterable[str] = ()
) -> None:
    """Make these files, by path, in the ext4 at ``place`` of the disk; their folders too. Raise WriteFailed.

    No file of such a name may be there, save ``instead_of``, which are removed. debugfs replays no journal:
    the file system must be clean.
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
