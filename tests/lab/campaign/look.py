"""What is looked at on a disk from outside, before it is booted: by abctl's own eyes and by the real GRUB."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from abctl.core import evidence as evidences
from abctl.core import record as records
from abctl.core import trust_state as trusts
from abctl.core.bootenv import Copy, read_boot_env
from abctl.core.bootstate import BootEnv, SlotState, Why
from abctl.core.grub import next_boot
from abctl.core.layout import Role
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.host.disk import Disk, DiskConfigFile, DiskGrubPartition, open_disk
from abctl.host.files import read_file
from tests.lab.campaign.disks import Matches
from tests.lab.campaign.places import KEPT, KEPT_IN_CONFIG, KEPT_IN_VAR, REFUSED, Plan
from tests.virtual_host import VirtualHost


class Outcome(StrEnum):
    """How an upgrade ends for a host."""

    CONFIRMED = "confirmed"  # the new release runs and stays
    OLD = "old"  # the old one runs, and the upgrade can be started again
    FELL_BACK = "fell back"  # the new one was no good, and the old one runs


@dataclass(frozen=True, slots=True)
class Memory:
    """What a config volume holds; a serial is -1 where nothing whole is there."""

    record: int
    trust: int
    evidence: int
    refused: tuple[str, ...]
    host_id: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What is on a disk: what GRUB boots, how it should end, and what is wrong."""

    slot_set: str
    why: str
    outcome: Outcome
    problems: tuple[str, ...]
    is_over: bool = False  # the confirmation is there


def read_memory(path: Path) -> Memory:
    disk = open_disk(path)
    record, is_record = records.decode(DiskConfigFile(disk, records.PATH, records.FILE_SIZE).read())
    trust = trusts.decode(DiskConfigFile(disk, trusts.PATH, trusts.FORM.file_size).read())
    evidence = DiskConfigFile(disk, evidences.PATH, evidences.FORM.file_size).read()
    halves = [evidences.decode_half(half) for half in evidences.FORM.split(evidence)]
    return Memory(
        record=record.serial if is_record else -1,
        trust=trust.serial,
        evidence=max((half.serial for half in halves if half), default=-1),
        refused=tuple(item.version for item in record.refusals),
        host_id=trust.host_id,
    )


def look(path: Path, plan: Plan, matches: Matches, before: Memory) -> Looked:
    """Look at a disk; ``before`` is what was certainly on its medium when the power went."""
    disk = open_disk(path)
    grub = DiskGrubPartition(disk)
    files = grub.read()
    env = read_boot_env(files).env
    if env is None:
        return Looked("", "", Outcome.OLD, ("no copy of the boot environment can be read",))
    following = next_boot(files)
    problems = [
        *_find_in_slots(env, following.slot_set, plan, matches),
        *_find_in_memory(read_memory(path), before, plan),
        *find_lost(disk, plan.primary),
    ]
    with _unchanged(disk):
        boot = VirtualHost(path).power_on()
    if (boot.slot_set, boot.why) != (following.slot_set, following.why):
        problems.append(f"GRUB boots {boot.slot_set} ({boot.why}), abctl expects {following.slot_set}")
    outcome, is_over = expect(env, following.why, plan), env.trial is None and env.primary is plan.target
    return Looked(boot.slot_set, boot.why, outcome, tuple(problems), is_over)


def _find_in_slots(env: BootEnv, booted: SlotName, plan: Plan, matches: Matches) -> Iterator[str]:
    wanted = {"is booted next": booted, "is the primary": env.primary, "was upgraded from": plan.primary}
    if env.trial and env.trial.attempts:
        wanted["is on trial"] = env.trial.slot_set
    if env[plan.target].state in (SlotState.GOOD, SlotState.UNTESTED):
        wanted[f"is said to be {env[plan.target].state}"] = plan.target
    for what, slot_set in wanted.items():
        version = env[slot_set].version
        if not matches.is_whole(slot_set, version):
            yield f"slot set {slot_set} {what}, and is not {version} to the byte"


def _find_in_memory(now: Memory, before: Memory, plan: Plan) -> Iterator[str]:
    for name in ("record", "trust", "evidence"):
        if getattr(now, name) < getattr(before, name):
            yield f"{name} went back from {getattr(before, name)} to {getattr(now, name)}"
    if now.host_id != before.host_id:
        yield f"the host's id was {before.host_id} and is {now.host_id}"
    if REFUSED not in now.refused:
        yield f"the refusal of {REFUSED} is lost"
    if wrong := set(now.refused) - {REFUSED, *(() if plan.is_good else (plan.new,))}:
        yield f"{', '.join(wrong)} is refused, and was never at fault"


def find_lost(disk: Disk, primary: SlotName) -> Iterator[str]:
    """Yield what is missing of the files that were there before the upgrade."""
    config = disk.layout.find_role(Role.CONFIG)
    assert config is not None
    var = disk.layout.find_slot(Slot(primary, Part.VAR))
    for home, name in ((config, KEPT_IN_CONFIG), (var, KEPT_IN_VAR)):
        with disk.open_volume(home) as volume:
            if read_file(volume, name, MIB) != KEPT:
                yield f"{name} on {home.name} is not what it was"


def expect(env: BootEnv, why: Why, plan: Plan) -> Outcome:
    """Return how it has to end, from what stands in the boot environment when the power comes back."""
    if env.trial:
        return Outcome.CONFIRMED if plan.is_good and why is Why.TRIAL else Outcome.FELL_BACK
    if env.primary is plan.target:
        return Outcome.CONFIRMED
    is_bad = env[plan.target].state is SlotState.BAD and env[plan.target].version == plan.new
    return Outcome.FELL_BACK if is_bad else Outcome.OLD


@contextmanager
def _unchanged(disk: Disk) -> Iterator[None]:
    """Give the boot environment back as it was: GRUB spends attempts."""
    before: list[Callable[[], None]] = []
    for copy in Copy:
        with disk.open_file(Role.GRUB, copy.value) as file:
            before += [_putting_back(disk.path, place.offset, place.length) for place in file.extents]
    try:
        yield
    finally:
        for put_back in before:
            put_back()


def _putting_back(path: Path, offset: int, length: int) -> Callable[[], None]:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length)

    def put_back() -> None:
        with path.open("r+b") as target:
            target.seek(offset)
            target.write(data)

    return put_back
