"""Record whole upgrades: what `make campaign` cuts."""

import hashlib
import shutil
import time
from dataclasses import replace
from pathlib import Path

from abctl.core import record as records
from abctl.core import trust_state
from abctl.core.bootstate import BLOCK_SIZE
from abctl.core.found import Extent
from abctl.core.record import Refusal
from abctl.core.release import INSTALLED_PARTS
from abctl.core.slot import Part, Slot
from abctl.core.units import MIB, Seconds, Version
from abctl.host.disk import Disk, DiskConfigFile, open_disk
from abctl.update.memory import ConfigRecord, ConfigTrust
from tests.lab.campaign.guest import wait_rest
from tests.lab.campaign.phases import Marks, Span, decode_blocks, find_blocks, find_spans
from tests.lab.campaign.places import KEPT_IN_CONFIG, KEPT_IN_VAR, REFUSED, Plan
from tests.lab.campaign.recording import Facts, LogCounter, Recording
from tests.lab.campaign.sets import Set
from tests.lab.damage import places_of_copies
from tests.lab.machine import Machine
from tests.lab.prepare import copy_sparse
from tests.lab.qemu import Hardware
from tests.lab.server import Server
from tests.lab.writelog import Write, read_log
from tests.lab.writelog import replay as replay_log
from tests.releases import digest_of

_KEEP = "".join(
    f"mkdir -p {path.rpartition('/')[0]}; "
    "for number in $(seq 0 499); do "
    f"echo this line must stay, whatever happens: $number; done >{path}; sync {path}; "
    for path in (f"/boot/config/{KEPT_IN_CONFIG}", f"/var/{KEPT_IN_VAR}")
)


def make_recordings(found: Set, server: Server) -> None:
    """Record what is missing in a set."""
    for recording in found.recordings:
        if not recording.is_there:
            _make_recording(found, recording, server)


def _make_recording(found: Set, recording: Recording, server: Server) -> None:
    plan, folder = recording.plan, recording.folder
    folder.mkdir(exist_ok=True)
    if not recording.base.exists():
        new = folder / "base.new"
        same = [item.base for item in found.recordings if item.is_there and item.plan.after == plan.after]
        if same:
            copy_sparse(same[0], new)
        else:
            _make_base(found, plan, new, server)
        new.rename(recording.base)
    copy_sparse(recording.base, recording.final)
    marks, seconds = _upgrade(recording, server)
    _check_log(recording)
    disk = open_disk(recording.final)
    facts = Facts(
        spans=_find_spans(recording, disk, marks),
        sizes=_check_images(found, recording),
        host_id=ConfigTrust(DiskConfigFile(disk, trust_state.PATH, trust_state.FORM.file_size))
        .read()
        .host_id,
        seconds=seconds,
    )
    facts.write(folder / "facts.json")


# --- the disk before ----------------------------------------------------------------------------------


def _make_base(found: Set, plan: Plan, base: Path, server: Server) -> None:
    """Make a host that has lived a little: it has files to keep, and trusts and refuses something."""
    if plan.after:
        copy_sparse(found.folder / plan.after / "final.img", base)
    else:
        copy_sparse(found.folder / "first.img", base)
    folder = base.parent / "before"
    folder.mkdir(exist_ok=True)
    with Machine(folder, base, port=server.port) as host:
        host.power_on()
        wait_rest(host)
        host.run(_KEEP).check()
        host.abctl("check --json").check()
        host.shut_down()
    store = ConfigRecord(DiskConfigFile(open_disk(base), records.PATH, records.FILE_SIZE))
    known = store.read()
    if known.find_refusal(Version(REFUSED), None) is None:
        refusal = Refusal(Seconds(int(time.time())), Version(REFUSED), None, "an admin said so")
        store.write(replace(known.with_refusal(refusal), serial=known.serial + 1))


# --- the upgrade --------------------------------------------------------------------------------------


def _upgrade(recording: Recording, server: Server) -> tuple[Marks, float]:
    plan, log = recording.plan, recording.log
    log.write_bytes(b"")
    folder = recording.folder / "recorded"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with Machine(folder, recording.final, Hardware(log=log), port=server.port) as host:
        host.power_on()
        wait_rest(host)
        counter = LogCounter(log)
        start, began = counter.count(), host.clock()
        host.abctl(f"upgrade {plan.new} --no-reboot --quiet --json").check()
        armed = counter.count()
        host.start_command("systemctl reboot")
        word = wait_rest(host)
        assert word.slot_set == (plan.target if plan.is_good else plan.primary), word
        rest, seconds = counter.count(), host.clock() - began
        host.shut_down()
    return Marks(start, armed, rest), seconds


def _check_log(recording: Recording) -> None:
    """See that the log is all that was written: what it makes of the first disk is the last one."""
    made = recording.folder / "made.img"
    copy_sparse(recording.base, made)
    entries = read_log(recording.log)
    replay_log(entries, recording.log, made, 0, len(entries))
    assert digest_of(made) == digest_of(recording.final), "the log of writes does not give the disk"
    made.unlink()


def _check_images(found: Set, recording: Recording) -> dict[str, int]:
    """Return the sizes of the images in both slot sets, which are those of their releases to the byte."""
    plan, sizes = recording.plan, {}
    for slot_set, version, path in (
        (plan.primary, plan.old, recording.base),
        (plan.target, plan.new, recording.final),
    ):
        disk = open_disk(path)
        for part in INSTALLED_PARTS:
            image, slot = found.manifest_of(version).image_of(part).image, Slot(slot_set, part)
            assert _digest_of_slot(disk, slot, image.size) == image.sha256, f"{slot} is not {version}"
            sizes[str(slot)] = image.size
    return sizes


def _digest_of_slot(disk: Disk, slot: Slot, size: int) -> str:
    digest = hashlib.sha256()
    with disk.open_volume(disk.layout.find_slot(slot)) as volume:
        for at in range(0, size, MIB):
            digest.update(volume.read(at, min(MIB, size - at)))
    return digest.hexdigest()


# --- its phases ---------------------------------------------------------------------------------------


def _find_spans(recording: Recording, disk: Disk, marks: Marks) -> tuple[Span, ...]:
    entries, target = read_log(recording.log), recording.plan.target
    with recording.log.open("rb") as log:

        def read(at: int, length: int) -> bytes:
            log.seek(at)
            return log.read(length)

        blocks = find_blocks(entries, places_of_copies(recording.final))
        seen = decode_blocks((index, read(at, BLOCK_SIZE)) for index, at in blocks)
        images = [_place_of(disk, Slot(target, part)) for part in INSTALLED_PARTS]
        var = _place_of(disk, Slot(target, Part.VAR))
        begin = next(item.index for item in seen if item.index >= marks.start)
        bulk = next(
            index
            for index, write in enumerate(entries)
            if index > begin and _is_in(write, *images) and any(read(write.at, write.length))
        )
    first_of_var = next(index for index, write in enumerate(entries) if index > bulk and _is_in(write, var))
    return find_spans(seen, bulk, first_of_var, marks, len(entries))


def _place_of(disk: Disk, slot: Slot) -> Extent:
    places = disk.places_of(disk.layout.find_slot(slot))
    assert len(places) == 1, f"{slot} lies in pieces"
    return places[0]


def _is_in(write: Write, *places: Extent) -> bool:
    return write.length > 0 and any(place.offset <= write.start < place.end for place in places)
