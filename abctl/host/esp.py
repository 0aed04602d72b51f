"""What stands on the EFI system partition: Debian's signed shim and GRUB, and GRUB's first script."""

from pathlib import Path

from abctl.core.esp_cfg import make_esp_cfg
from abctl.core.layout import Layout
from abctl.errors import ToolFailed

# The firmware starts the first where no boot entry is stored; shim starts the second, beside it.
_PROGRAMS = {
    "EFI/BOOT/BOOTX64.EFI": ("usr/lib/shim/shimx64.efi.signed", "shim-signed"),
    "EFI/BOOT/grubx64.efi": ("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed"),
}
_SCRIPT = "EFI/debian/grub.cfg"  # the signed GRUB looks nowhere else


def make_esp_files(layout: Layout, system: Path = Path("/")) -> dict[str, bytes]:
    """Return the files by path, with the programs of ``system``; raise ToolFailed where one is missing."""
    files = {path: _read(system / source, package) for path, (source, package) in _PROGRAMS.items()}
    return files | {_SCRIPT: make_esp_cfg(layout).encode()}


def _read(path: Path, package: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolFailed(
            f"{path} cannot be read ({error.strerror}), and a disk that starts by EFI needs it: install the "
            f"package {package}"
        ) from error
