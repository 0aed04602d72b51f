"""The USB devices of this machine, as the kernel lists them in /sys."""

from collections.abc import Iterator
from pathlib import Path

from abctl.core.guest import UsbDevice

_FOLDER = "sys/bus/usb/devices"


def find_usb(vendor: int, product: int, root: Path = Path("/")) -> UsbDevice | None:
    """Return the first device of this kind, by its place; None where none is plugged in."""
    found = (item for item in list_usb(root) if (item.vendor, item.product) == (vendor, product))
    return min(found, key=lambda item: (item.bus, item.device), default=None)


def list_usb(root: Path = Path("/")) -> Iterator[UsbDevice]:
    """Yield what is plugged in."""
    for folder in (root / _FOLDER).glob("*"):
        try:
            kind = [int((folder / name).read_text(), 16) for name in ("idVendor", "idProduct")]
            place = [int((folder / name).read_text()) for name in ("busnum", "devnum")]
        except (OSError, ValueError):
            continue  # an interface of a device, or one that was pulled out just now
        yield UsbDevice(*kind, *place)
