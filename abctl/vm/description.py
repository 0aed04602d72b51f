"""The description of the guest, ``guest.toml``: what is not said there is as in ``layout/guest/guest.toml``.

name = "guestos"

[memory]
size = "486 GiB"

[network]
bridge = "br6"
mac = "6a:01:00:ec:bd:51"    # default: follows from the identity of the host
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from abctl.core.guest import HUGEPAGE
from abctl.core.layout_file import Size
from abctl.core.macs import parse_mac
from abctl.core.toml_file import parse_toml
from abctl.core.units import GIB, KIB, MIB
from abctl.errors import BadGuest, BadIdentity

DESCRIPTION_NAME = "guest.toml"
DESCRIPTION_MAX = 64 * KIB
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_UUID = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_INTERFACE = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$"  # the kernel's IFNAMSIZ is 16 with the final zero
_URI = r"^(qemu|test)(\+unix)?:///[ -~]+$"  # no other host's
_CPU_MODEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_ARGUMENTS_MAX = 2000
_VCPUS_MAX = 1024  # what QEMU's q35 takes
_MEMORY_MIN = 64 * MIB


class Accel(StrEnum):
    """What runs the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"  # QEMU itself: slow, and on any machine


class Firmware(StrEnum):
    """What starts the guest's disk."""

    UEFI = "uefi"
    BIOS = "bios"


class Hugepages(StrEnum):
    """Whether the guest's memory is made of huge pages."""

    AUTO = "auto"  # if enough are free
    REQUIRE = "require"
    NEVER = "never"


class Cache(StrEnum):
    """How QEMU opens the disk."""

    NONE = "none"  # past the host's page cache
    WRITETHROUGH = "writethrough"  # for images on file systems without direct I/O


def _check_path(text: str) -> str:
    if not text.startswith("/") or not text.isprintable() or "/../" in f"{text}/":
        raise ValueError(f"{text[:100]!r} is not an absolute path")
    return text


def _check_mac(text: str) -> str:
    try:
        return parse_mac(text)
    except BadIdentity as error:
        raise ValueError(str(error)) from error


def _check_arguments(text: str) -> str:
    if not text.isprintable():
        raise ValueError("kernel arguments are one line of printable characters")
    return text


_Path = Annotated[str, Field(max_length=1000), AfterValidator(_check_path)]
_Mac = Annotated[str, AfterValidator(_check_mac)]


class _Form(BaseModel):
    model_config = _STRICT


class CpuForm(_Form):
    """The guest's processors."""

    model: Annotated[
        str, Field(pattern=_CPU_MODEL, max_length=64, description="host-passthrough, or a model of QEMU's")
    ] = "host-passthrough"
    sockets: Annotated[int, Field(ge=1, le=64)] = 2
    cores: Annotated[int, Field(ge=1, le=512, description="of each socket")] = 16
    threads: Annotated[int, Field(ge=1, le=8, description="of each core")] = 2
    topoext: Annotated[bool, Field(description="AMD: show the guest which threads share a core")] = True

    @property
    def count(self) -> int:
        """How many processors the guest sees."""
        return self.sockets * self.cores * self.threads

    @property
    def is_passthrough(self) -> bool:
        return self.model == "host-passthrough"

    @model_validator(mode="after")
    def _count_is_possible(self) -> "CpuForm":
        if self.count > _VCPUS_MAX:
            raise ValueError(
                f"{self.sockets} sockets of {self.cores} cores of {self.threads} threads are {self.count} "
                f"processors: no guest has more than {_VCPUS_MAX}"
            )
        return self


class MemoryForm(_Form):
    """The guest's memory."""

    size: Annotated[Size, Field(ge=_MEMORY_MIN, multiple_of=HUGEPAGE, description="bytes, or '486 GiB'")] = (
        486 * GIB
    )
    hugepages: Annotated[Hugepages, Field(strict=False)] = Hugepages.AUTO


class BootForm(_Form):
    """What starts the guest."""

    firmware: Annotated[Firmware, Field(strict=False)] = Firmware.UEFI
    code: Annotated[_Path, Field(description="OVMF's program")] = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    vars: Annotated[_Path, Field(description="what OVMF's variables are at first")] = (
        "/usr/share/OVMF/OVMF_VARS_4M.fd"
    )
    kernel: Annotated[_Path | None, Field(description="a kernel to start instead of the disk")] = None
    initrd: _Path | None = None
    arguments: Annotated[str, Field(max_length=_ARGUMENTS_MAX), AfterValidator(_check_arguments)] = ""

    @model_validator(mode="after")
    def _goes_with_a_kernel(self) -> "BootForm":
        if self.kernel is None and (self.initrd or self.arguments):
            raise ValueError("initrd and arguments go with a kernel")
        return self


class DiskForm(_Form):
    """The guest's disk, which holds slot sets of its own."""

    path: Annotated[_Path, Field(description="a block device, or an image")] = "/dev/hostlvm/guestos"
    layout: Annotated[
        str | None, Field(min_length=1, max_length=1000, description="default: found by what is on the disk")
    ] = None
    cache: Annotated[Cache, Field(strict=False)] = Cache.NONE


class MediaForm(_Form):
    """The removable medium CONFIG, made anew at each start."""

    enabled: bool = True
    folder: Annotated[_Path, Field(description="whose files it gets")] = "/boot/config/guestos"


class NetworkForm(_Form):
    """The guest's network card."""

    enabled: bool = True
    bridge: Annotated[str, Field(pattern=_INTERFACE)] = "br6"
    mac: Annotated[_Mac | None, Field(description="default: that which follows from the host's identity")] = (
        None
    )


class VsockForm(_Form):
    """The socket between host and guest."""

    enabled: bool = True
    cid: Annotated[int, Field(ge=3, le=2**32 - 2)] = 3


class SerialForm(_Form):
    """The serial console."""

    log: _Path = "/var/log/libvirt/qemu/guestos-serial.log"


class DevicesForm(_Form):
    """Other devices."""

    balloon: bool = True
    rng: bool = True
    watchdog: Annotated[bool, Field(description="i6300esb; where nobody feeds it, the guest is ended")] = True
    tpm: Annotated[bool, Field(description="TPM 2.0 by swtpm")] = False


class LifeForm(_Form):
    """How long things may take, in seconds, and how often they are tried."""

    ready_within: Annotated[int, Field(ge=1, le=24 * 3600)] = 300
    stop_within: Annotated[int, Field(ge=0, le=3600)] = 120
    tries: Annotated[
        int, Field(ge=1, le=1000, description="starts in a row that may fail; then it is left as it is")
    ] = 3


class Description(_Form):
    """What the guest is, and what of the machine it gets."""

    model_config = _STRICT | {"title": "abctl guest description"}

    name: Annotated[str, Field(pattern=_NAME, max_length=64)] = "guestos"
    uuid: Annotated[str, Field(pattern=_UUID), AfterValidator(str.lower)] = (
        "fd897da5-8017-41c8-8575-a706dba30766"
    )
    uri: Annotated[str, Field(pattern=_URI, max_length=500, description="where libvirt's daemon is")] = (
        "qemu:///system"
    )
    accel: Annotated[Accel, Field(strict=False)] = Accel.KVM
    cpu: CpuForm = CpuForm()
    memory: MemoryForm = MemoryForm()
    boot: BootForm = BootForm()
    disk: DiskForm = DiskForm()
    media: MediaForm = MediaForm()
    network: NetworkForm = NetworkForm()
    vsock: VsockForm = VsockForm()
    serial: SerialForm = SerialForm()
    devices: DevicesForm = DevicesForm()
    life: LifeForm = LifeForm()

    @model_validator(mode="after")
    def _goes_together(self) -> "Description":
        if self.accel is Accel.TCG and self.cpu.is_passthrough:
            raise ValueError("cpu.model host-passthrough needs accel kvm: with tcg name a model, such as max")
        if self.uuid == _NO_UUID:
            raise ValueError("uuid is that of no domain: make one with uuidgen")
        return self


def parse_description(text: str, name: str) -> Description:
    """Return the description in ``text``; raise BadGuest, naming ``name`` and every wrong field."""
    return parse_toml(Description, text, name, BadGuest)
