"""A running host as files: what the kernel shows of it in /proc, /sys and /dev, below a folder."""

from pathlib import Path

from abctl.core import record
from abctl.core.layout import Layout, LogicalVolume, Role
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.slots_cfg import mapped_name
from abctl.core.units import MIB
from abctl.host.live import LiveConfigFile, LivePaths
from abctl.update.memory import ConfigRecord

SLOT_SIZE = 2 * MIB
_ESCAPED = {" ": r"\040", "\t": r"\011", "\n": r"\012", "\\": r"\134"}


class FakeHost:
    """One host. Disks are block devices 8:N, mapped volumes 253:N; slots are plain files."""

    def __init__(self, root: Path, layout: Layout, booted: SlotName = SlotName.A) -> None:
        self.root = root
        self.layout = layout
        self.paths = LivePaths(root)
        self.devices: dict[str, str] = {}
        self._mounts: list[str] = []
        for folder in (
            "proc/self",
            "sys/dev/block",
            "sys/class/block",
            "dev/mapper",
            "boot/grub",
            "boot/config",
        ):
            (root / folder).mkdir(parents=True)
        self.add_disk("sda", 0, [partition.name for partition in layout.partitions])
        for minor, slot in enumerate(ALL_SLOTS):
            self._add_slot(slot, minor)
        self.tell_kernel(
            f"BOOT_IMAGE=/vmlinuz ro dfinity.system={booted} abctl.why=primary abctl.passed_over="
        )
        self.mount("/proc", "0:21", "proc")
        self.mount("/", self.devices[f"{booted}_root"])
        self.mount("/boot", self.devices[f"{booted}_boot"])
        self.mount("/boot/grub", self.devices["grub"])
        config = layout.find_role(Role.CONFIG)
        assert config
        if config.name not in self.devices:
            self.add_mapped("hostlvm-config", 20)
        self.mount("/boot/config", self.devices.get(config.name) or self.devices["hostlvm-config"])

    def _add_slot(self, slot: Slot, minor: int) -> None:
        volume = self.layout.find_slot(slot)
        if isinstance(volume, LogicalVolume):
            name = mapped_name(self.layout, volume)
            self.add_mapped(name, minor)
            self.devices[slot.name] = self.devices[name]
            node = self.root / "dev/mapper" / name
        else:
            number = self.layout.partitions.index(volume) + 1
            self.devices[slot.name] = self.devices[volume.name]
            node = self.root / f"dev/sda{number}"
        node.write_bytes(b"\xaa" * SLOT_SIZE)

    def add_disk(self, name: str, first_minor: int, partitions: list[str]) -> None:
        """Add a disk; ``partitions`` are their names in its partition table."""
        for number, label in enumerate(partitions, 1):
            folder = self.root / "sys/devices" / name / f"{name}{number}"
            folder.mkdir(parents=True)
            (folder / "partition").write_text(f"{number}\n")
            (folder / "uevent").write_text(f"DEVNAME={name}{number}\nPARTN={number}\nPARTNAME={label}\n")
            self._number(folder, f"8:{first_minor + number}")
            self.devices.setdefault(label, f"8:{first_minor + number}")
            self.devices[f"{name}{number}"] = f"8:{first_minor + number}"
        (self.root / "sys/class/block" / name).symlink_to(self.root / "sys/devices" / name)

    def add_mapped(self, name: str, minor: int, *, on: str | None = None) -> None:
        """Add a mapped device; ``on`` is the number of the device it maps."""
        folder = self.root / "sys/devices/virtual" / f"dm-{minor}"
        (folder / "dm").mkdir(parents=True)
        (folder / "slaves").mkdir()
        (folder / "dm/name").write_text(f"{name}\n")
        if on:
            (folder / "slaves/below").symlink_to((self.root / "sys/dev/block" / on).resolve())
        self._number(folder, f"253:{minor}")
        self.devices[name] = f"253:{minor}"

    def _number(self, folder: Path, number: str) -> None:
        (folder / "dev").write_text(f"{number}\n")
        (self.root / "sys/dev/block" / number).symlink_to(folder)

    def tell_kernel(self, command_line: str) -> None:
        (self.root / "proc/cmdline").write_text(command_line + "\n")

    def mount(self, point: str, device: str, source: str = "/dev/whatever") -> None:
        escaped = "".join(_ESCAPED.get(char, char) for char in point)
        number = 20 + len(self._mounts)
        self._mounts.append(f"{number} 1 {device} / {escaped} rw,relatime shared:1 - ext4 {source} rw")
        self._write_mounts()

    def unmount(self, point: str) -> None:
        self._mounts = [line for line in self._mounts if line.split(" ")[4] != point]
        self._write_mounts()

    def _write_mounts(self) -> None:
        (self.root / "proc/self/mountinfo").write_text("".join(f"{line}\n" for line in self._mounts))

    def node_of(self, slot: Slot) -> Path:
        """Return the file that stands for the block device of ``slot``."""
        volume = self.layout.find_slot(slot)
        if isinstance(volume, LogicalVolume):
            return self.root / "dev/mapper" / mapped_name(self.layout, volume)
        return self.root / f"dev/sda{self.layout.partitions.index(volume) + 1}"


B_ROOT, B_BOOT = Slot(SlotName.B, Part.ROOT), Slot(SlotName.B, Part.BOOT)


def live_record(paths: LivePaths) -> ConfigRecord:
    return ConfigRecord(LiveConfigFile(record.PATH, record.FILE_SIZE, paths))
