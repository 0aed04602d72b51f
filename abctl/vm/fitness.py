"""Whether a machine has what the guest needs: everything that is missing, at once."""

from collections.abc import Iterator, Sequence

from abctl.core.guest import HUGEPAGE, Resources
from abctl.core.units import format_size
from abctl.errors import GuestUnfit
from abctl.vm.description import Accel, Description, Firmware, Hugepages


def list_files(description: Description) -> Iterator[str]:
    """Yield what has to be on the machine."""
    boot = description.boot
    yield description.disk.path
    if boot.firmware is Firmware.UEFI:
        yield from (boot.code, boot.vars)
    yield from (path for path in (boot.kernel, boot.initrd) if path)
    if description.accel is Accel.KVM:
        yield "/dev/kvm"
    if description.vsock.enabled:
        yield "/dev/vhost-vsock"
    if description.devices.tpm:
        yield "/usr/bin/swtpm"


_REMEDIES = {
    "/dev/kvm": 'switch virtualization on in the firmware, or say accel = "tcg"',
    "/dev/vhost-vsock": "'modprobe vhost_vsock', or say vsock.enabled = false",
    "/usr/bin/swtpm": "install the package swtpm-tools, or say devices.tpm = false",
}


def check_fitness(description: Description, resources: Resources) -> None:
    """Raise GuestUnfit with everything that is missing."""
    problems = list(find_problems(description, resources))
    if problems:
        raise GuestUnfit(f"this machine cannot run {description.name}: {'; '.join(problems)}")


def find_problems(description: Description, resources: Resources) -> Iterator[str]:
    """Yield a sentence for each thing that the machine lacks, whatever runs at the moment."""
    yield from _find_cpu_problems(description, resources)
    yield from _find_memory_problems(description, resources)
    for path in list_files(description):
        if path in resources.missing:
            remedy = _REMEDIES.get(path) or f"mend {_field_of(description, path)} in guest.toml"
            yield f"{path} {resources.missing[path]}: {remedy}"
    network = description.network
    if network.enabled and network.bridge not in resources.bridges:
        yield (
            f"there is no bridge {network.bridge} ({_say_bridges(sorted(resources.bridges))}): set it up, or "
            "mend network.bridge in guest.toml"
        )


def _find_cpu_problems(description: Description, resources: Resources) -> Iterator[str]:
    cpu = description.cpu
    if cpu.count > resources.cpus:
        yield (
            f"{cpu.sockets} x {cpu.cores} x {cpu.threads} are {cpu.count} processors, and the machine has "
            f"{resources.cpus}: mend cpu in guest.toml"
        )
    if not cpu.is_passthrough:
        return
    if cpu.threads > resources.threads:
        yield (
            f"cpu.threads is {cpu.threads}, and a core of this machine has {resources.threads}: with "
            "host-passthrough the guest would share cores that it takes for its own"
        )
    if cpu.topoext and not resources.has_topoext:
        yield "its processors have no topoext, which only AMD's have: say cpu.topoext = false"


def _find_memory_problems(description: Description, resources: Resources) -> Iterator[str]:
    memory = description.memory
    if memory.size > resources.memory:
        yield (
            f"the guest is to have {format_size(memory.size)} of memory, and the machine has "
            f"{format_size(resources.memory)}: mend memory.size in guest.toml"
        )
    elif memory.hugepages is Hugepages.REQUIRE and memory.size > resources.hugepages * HUGEPAGE:
        yield (
            f"memory.hugepages is require, and of the {memory.size // HUGEPAGE} huge pages of 2 MiB that the "
            f"guest needs the machine has {resources.hugepages}: set vm.nr_hugepages, or say auto"
        )


def choose_hugepages(description: Description, resources: Resources) -> bool:
    """Return whether the guest gets huge pages, when nothing of it runs; raise GuestUnfit.

    What is free is known only then; other memory must be there where they are not used.
    """
    memory = description.memory
    is_enough = resources.free_hugepages * HUGEPAGE >= memory.size
    if memory.hugepages is not Hugepages.NEVER and is_enough:
        return True
    if memory.hugepages is Hugepages.REQUIRE:
        raise GuestUnfit(
            f"{memory.size // HUGEPAGE} huge pages of 2 MiB are needed, and {resources.free_hugepages} are "
            'free: end what uses them, or say memory.hugepages = "auto"'
        )
    if memory.size > resources.available:
        raise GuestUnfit(
            f"{format_size(memory.size)} of memory are needed, and {format_size(resources.available)} are "
            f"free{_say_pages(resources)}: end what uses it, or mend memory.size in guest.toml"
        )
    return False


def _say_pages(resources: Resources) -> str:
    held = resources.hugepages * HUGEPAGE
    return f" beside {format_size(held)} in huge pages" if held else ""


def _field_of(description: Description, path: str) -> str:
    boot = description.boot
    fields = {
        description.disk.path: "disk.path",
        boot.code: "boot.code",
        boot.vars: "boot.vars",
        boot.kernel: "boot.kernel",
        boot.initrd: "boot.initrd",
    }
    return fields.get(path, path)


def _say_bridges(names: Sequence[str]) -> str:
    return f"there are {', '.join(names[:5])}" if names else "there is none"
