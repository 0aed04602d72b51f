"""What the doctor looks at: a host or a disk, opened once, and what was seen of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from abctl.cli.report import StatusReport
from abctl.cli.standing import look_at, look_into_slot_sets, report_scene
from abctl.cli.verdict import Scene
from abctl.cli.wiring import Machine, Target, open_machine
from abctl.core import evidence, jobs_file, record, trust_state
from abctl.core.advice import Prompt
from abctl.core.bootenv import EnvFiles
from abctl.core.contents import Contents
from abctl.core.found import Extent
from abctl.core.halves import Halves, Unsound, find_harm
from abctl.core.layout import Role
from abctl.core.signed_dates import SignedDates, read_dates
from abctl.core.slot import SlotName
from abctl.errors import DiskUnusable
from abctl.host.config import DEFAULT_FOLDER, HostConfig, read_config
from abctl.update.first import blank_config_files
from abctl.update.operate import Observed, observe

if TYPE_CHECKING:
    from abctl.core.compare import Difference
    from abctl.core.layout import Layout
    from abctl.host.block import ExtentVolume
    from abctl.host.disk import Disk, DiskConfigFile
    from abctl.host.live import LiveConfigFile


_FORMS: dict[str, Halves] = {
    record.PATH: record.FORM,
    trust_state.PATH: trust_state.FORM,
    evidence.PATH: evidence.FORM,
    jobs_file.PATH: jobs_file.FORM,
}


@dataclass(frozen=True)
class Patient:
    """A host or disk; it is looked at when a property is asked for, and each may raise AbctlError."""

    target: Target

    @property
    def prompt(self) -> Prompt:
        return self.target.prompt

    @property
    def is_live(self) -> bool:
        return self.target.disk is None

    @cached_property
    def machine(self) -> Machine:
        with open_machine(self.target, write=False) as machine:
            return machine

    @cached_property
    def observed(self) -> Observed:
        return observe(self.machine.ports)

    @cached_property
    def files(self) -> EnvFiles:
        return self.machine.ports.grub.read()

    @cached_property
    def is_adopted(self) -> bool:
        """Whether the host has abctl's boot environment or scripts, not only the older system's."""
        scripts = self.machine.grub_files().read("grub.cfg") or b""
        return bool(self.files.first or self.files.second or b"select.cfg" in scripts)

    @cached_property
    def scene(self) -> Scene:
        return look_at(self.machine, self.target.name, self.prompt)

    @cached_property
    def status(self) -> StatusReport:
        return report_scene(self.machine, self.scene)

    @cached_property
    def contents(self) -> Mapping[SlotName, Contents]:
        """What is in the slot sets, with the versions that their own files say."""
        found = look_into_slot_sets(self.machine)
        version_in = self.machine.ports.version_in
        return {
            name: item if item.problem else replace(item, version=version_in(name))
            for name, item in found.items()
        }

    # --- the disk ---

    @cached_property
    def path(self) -> Path:
        """The disk image or device; on the running host the one with the grub partition."""
        if self.target.disk:
            return self.target.disk
        from abctl.host.live import find_live_disk  # noqa: PLC0415

        return find_live_disk()

    @cached_property
    def disk(self) -> "Disk":
        from abctl.host.disk import open_disk  # noqa: PLC0415

        return open_disk(self.path, self.target.read_layout(), whole=False)

    @cached_property
    def compared(self) -> "tuple[Layout, tuple[Difference, ...]]":
        """The layout, and in what the disk differs."""
        from abctl.host.disk import check_disk  # noqa: PLC0415

        return check_disk(self.path, self.target.read_layout())

    @contextmanager
    def open_grub_partition(self) -> "Iterator[ExtentVolume]":
        """Open it where its file system can be seen as it is: a mounted one by its own device."""
        from abctl.host.block import ExtentVolume, size_of  # noqa: PLC0415
        from abctl.host.mounts import MountTable  # noqa: PLC0415

        home = self.machine.layout.find_role(Role.GRUB)
        assert home is not None
        if not self.is_live:
            with self.disk.open_volume(home) as volume:
                yield volume
            return
        name = MountTable().find_partition(self.path.name, home.name)
        if name is None:
            raise DiskUnusable(f"{self.path} has no partition {home.name}")
        path = Path("/dev") / name
        with ExtentVolume(path, [Extent(0, size_of(path))], home.name) as volume:
            yield volume

    def config_file(self, path: str, size: int) -> "LiveConfigFile | DiskConfigFile":
        """Return a file of fixed size on the config volume."""
        if self.is_live:
            from abctl.host.live import LiveConfigFile  # noqa: PLC0415

            return LiveConfigFile(path, size)
        from abctl.host.disk import DiskConfigFile  # noqa: PLC0415

        return DiskConfigFile(self.disk, path, size)

    def find_unsound(self) -> tuple[Unsound, ...]:
        """Return the files of the config volume that are not as they have to be."""
        found = (
            find_harm(path, self.config_file(path, len(blank)).look(), _FORMS.get(path), blank)
            for path, blank in blank_config_files().items()
        )
        return tuple(item for item in found if item)

    def is_unclean(self) -> bool:
        """Whether files of the config volume may stand only in its journal; on a running host none does."""
        if self.is_live:
            return False
        from abctl.host.config_volume import is_unclean  # noqa: PLC0415

        return is_unclean(self.disk)

    # --- the configuration ---

    @cached_property
    def config(self) -> HostConfig | None:
        """The configuration; None for a disk that was named without one."""
        if self.target.config is None and not self.is_live:
            return None
        return read_config(self.target.config or DEFAULT_FOLDER)

    @cached_property
    def dates(self) -> SignedDates:
        """When what is known of the repository was signed, and until when it holds."""
        pinned = None
        if self.config and (self.config.folder / self.config.config.repository.root).exists():
            pinned = self.config.read_root().decode("utf-8", "replace")
        return read_dates(self.machine.trust.read(), pinned)
