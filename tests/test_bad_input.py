"""Bad input on its way to a slot: a clear error, and what runs stays as it is."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.bootenv import Copy, SlotState
from abctl.core.record import Happened
from abctl.core.release import Compression
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.errors import (
    AbctlError,
    BadArchive,
    BadRelease,
    DigestMismatch,
    DoesNotFit,
    Interrupted,
    InUse,
    ReadBackMismatch,
    SourceNotFound,
    StateUnwritable,
    TransferCut,
    TransferTooLong,
    Untrusted,
    WriteFailed,
)
from abctl.host.source import locate_release
from abctl.ports import Offer
from abctl.update.install import install
from abctl.update.progress import OnProgress, Progress, Remark, Step, ignore_progress
from tests.fake_volumes import LAYOUT, SLOT_SIZES, MemoryDisk, make_image
from tests.hostile_server import Behaviour, HostileServer
from tests.refusals import (
    EMPTIED,
    WRONG,
    assert_given_up,
    assert_refused,
    assert_says,
    list_open_files,
    offer_from,
    offer_of,
    with_manifest,
)
from tests.releases import Archive, Release, digest_of, pack_archive, pack_release

# --- digests ----------------------------------------------------------------------------------------


def test_without_a_digest_nothing_is_installed(memory_disk: MemoryDisk, release: Release) -> None:
    assert_refused(
        memory_disk, locate_release(str(release.directory)), Untrusted, "manifest.json", "--sha256"
    )


def test_a_manifest_with_the_wrong_hash_is_not_even_parsed(memory_disk: MemoryDisk, release: Release) -> None:
    release.manifest.write_bytes(b"{ not JSON")
    assert_refused(memory_disk, offer_of(release), DigestMismatch, "manifest.json", release.manifest_sha256)


def test_an_archive_with_the_wrong_hash_is_refused_before_the_first_write(
    memory_disk: MemoryDisk, archive: Archive
) -> None:
    assert_refused(
        memory_disk,
        locate_release(str(archive.path), WRONG),
        DigestMismatch,
        "update-img.tar.zst",
        archive.sha256,
    )


def test_an_archive_from_a_server_with_the_wrong_hash_is_never_armed(
    memory_disk: MemoryDisk, archive: Archive, server: HostileServer
) -> None:
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes())
    assert_given_up(memory_disk, offer_from(url, WRONG), DigestMismatch, "update-img.tar.zst", WRONG)


@pytest.mark.parametrize("what", ["download", "image"])
def test_an_image_with_the_wrong_hash_is_refused_before_the_first_write(
    memory_disk: MemoryDisk, release: Release, what: str
) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        manifest["images"][1][what]["sha256"] = WRONG

    assert_refused(
        memory_disk, offer_of(with_manifest(release, spoil)), DigestMismatch, "root.img.zst", WRONG
    )


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["directory", "archive"])
def test_an_image_larger_than_its_slot_is_refused_before_the_first_write(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], form: str
) -> None:
    large = make_image(tmp_path / "large.img", SLOT_SIZES[Part.ROOT] + 512, 7)
    both = {**images, Part.ROOT: large}
    if form == "directory":
        offer = offer_of(pack_release(tmp_path / "release", "2.0.0", both))
    else:
        archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", both)
        offer = offer_of(archive)
    assert_refused(memory_disk, offer, DoesNotFit, "root.img", "B_root", "512 bytes too many")


def test_an_image_in_an_archive_from_a_server_that_is_larger_than_its_slot_is_never_armed(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], server: HostileServer
) -> None:
    large = make_image(tmp_path / "large.img", SLOT_SIZES[Part.ROOT] + 512, 7)
    archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", {**images, Part.ROOT: large})
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes())
    assert_given_up(memory_disk, offer_from(url, archive), DoesNotFit, "root.img", "B_root")


@pytest.mark.parametrize("compression", Compression)
def test_an_image_of_nothing_but_zeros_is_refused(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], compression: Compression
) -> None:
    empty = tmp_path / "empty.img"
    empty.write_bytes(b"")
    os.truncate(empty, 2 * MIB)
    release = pack_release(
        tmp_path / "release", "2.0.0", {**images, Part.ROOT: empty}, compression=compression
    )
    assert_refused(memory_disk, offer_of(release), BadArchive, "root.img", "no file system")


def test_an_image_that_unpacks_to_more_than_was_said_is_stopped_there(
    memory_disk: MemoryDisk, tmp_path: Path, release: Release
) -> None:
    def bomb(manifest: dict[str, Any]) -> None:
        packed = release.directory / "root.img.zst"
        with zstd.ZstdFile(packed, "w") as packer:
            packer.write(b"bomb")
            for _ in range(200):
                packer.write(bytes(MIB))
        manifest["images"][1]["download"] = {"size": packed.stat().st_size, "sha256": digest_of(packed)}

    told: list[Progress | Remark] = []
    offer = offer_of(with_manifest(release, bomb))
    with pytest.raises(BadArchive, match=r"root\.img\.zst holds more than the \d+ bytes"):
        install(memory_disk.ports, LAYOUT, offer, told.append)
    assert max(item.done for item in told if isinstance(item, Progress)) <= SLOT_SIZES[Part.ROOT]


# --- local files ------------------------------------------------------------------------------------


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tar").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    for name, error in {
        "missing": SourceNotFound,
        "folder": SourceNotFound,
        "text.tar": BadArchive,
        "pipe": SourceNotFound,
        "null\0byte": SourceNotFound,
    }.items():
        with pytest.raises(error, match=name.partition("\0")[0]):
            locate_release(str(tmp_path / name), WRONG)
    with pytest.raises(SourceNotFound, match="neither a file nor an http or https URL"):
        locate_release("ftp://server/update-img.tar.zst", WRONG)


def test_a_release_that_lacks_an_image_is_refused(memory_disk: MemoryDisk, release: Release) -> None:
    (release.directory / "root.img.zst").unlink()
    assert_refused(memory_disk, offer_of(release), SourceNotFound, "root.img.zst", "does not exist")


@pytest.mark.parametrize(("change", "error"), [(-1, TransferCut), (1, TransferTooLong)])
def test_a_release_with_an_image_of_another_length_is_refused(
    memory_disk: MemoryDisk, release: Release, change: int, error: type[AbctlError]
) -> None:
    image = release.directory / "root.img.zst"
    image.write_bytes((image.read_bytes() + b"x")[: image.stat().st_size + change])
    assert_refused(memory_disk, offer_of(release), error, "root.img.zst", str(image.stat().st_size - change))


@pytest.mark.parametrize("compression", Compression)
def test_a_release_with_a_damaged_image_is_refused(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], compression: Compression
) -> None:
    release = pack_release(tmp_path / "release", "2.0.0", images, compression=compression)
    [path] = release.directory.glob("root.img*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    before = memory_disk.take_snapshot()
    with pytest.raises(BadRelease, match=r"root\.img"):
        install(memory_disk.ports, LAYOUT, offer_of(release))
    memory_disk.assert_untouched(before)


# --- the disk ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(space=st.integers(0, 3 * MIB))
def test_a_full_disk_never_costs_what_runs(sound_release: Release, space: int) -> None:
    memory_disk = MemoryDisk()
    memory_disk.space = space
    assert_given_up(memory_disk, offer_of(sound_release), WriteFailed, "no space is left", "B_")


@pytest.mark.parametrize(
    ("part", "place"),
    [
        (Part.BOOT, 0),
        (Part.BOOT, MIB - 1),
        (Part.BOOT, MIB),
        (Part.ROOT, 0),
        (Part.ROOT, 3 * MIB),
        (Part.VAR, 99),
    ],
)
def test_a_disk_that_does_not_keep_what_it_is_given_is_never_armed(
    memory_disk: MemoryDisk, release: Release, part: Part, place: int
) -> None:
    memory_disk.flipped = (Slot(SlotName.B, part), place)
    before = memory_disk.take_snapshot()
    assert_says(memory_disk, offer_of(release), ReadBackMismatch, f"B_{part}", EMPTIED)
    memory_disk.assert_still_safe(before)
    assert memory_disk.env[SlotName.B].state is SlotState.EMPTY


@pytest.mark.parametrize("part", Part)
def test_a_slot_that_is_mounted_is_not_written(memory_disk: MemoryDisk, release: Release, part: Part) -> None:
    memory_disk.in_use = frozenset({Slot(SlotName.B, part)})
    assert_refused(memory_disk, offer_of(release), InUse, f"B_{part}")


@pytest.mark.parametrize("state", [SlotState.GOOD, SlotState.EMPTY])
@pytest.mark.parametrize("unwritable", [Copy.FIRST, Copy.SECOND, Copy.OLDER])
def test_no_slot_is_written_where_a_copy_of_the_boot_environment_cannot_be(
    memory_disk: MemoryDisk, release: Release, unwritable: Copy, state: SlotState
) -> None:
    memory_disk.set_env(memory_disk.env.with_state(SlotName.B, state))
    memory_disk.unwritable = frozenset({unwritable})
    before = memory_disk.take_snapshot()
    # Whatever state it was in, "left empty" would be said of something that nobody touched.
    assert_says(memory_disk, offer_of(release), StateUnwritable, unwritable, "Slot set B was not written to")
    memory_disk.assert_still_safe(before)
    assert memory_disk.slots == before.slots


def test_a_copy_that_breaks_before_the_arming_leaves_what_runs(
    memory_disk: MemoryDisk, release: Release
) -> None:
    def break_it(said: Progress | Remark) -> None:
        if isinstance(said, Progress) and said.step is Step.READ_BACK:
            memory_disk.unwritable = frozenset(Copy)

    before = memory_disk.take_snapshot()
    with pytest.raises(StateUnwritable, match="left empty"):
        install(memory_disk.ports, LAYOUT, offer_of(release), break_it)
    memory_disk.assert_still_safe(before)


# --- Ctrl-C -----------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=60)
@given(moment=st.integers(0, 40), form=st.sampled_from(["directory", "archive"]))
def test_ctrl_c_in_the_middle_of_anything_never_costs_what_runs(
    moment: int, form: str, sound_release: Release, archive: Archive
) -> None:
    offer = offer_of(sound_release if form == "directory" else archive)
    memory_disk = MemoryDisk()
    before, open_before = memory_disk.take_snapshot(), list_open_files()
    steps: list[Step] = []

    def press(said: Progress | Remark) -> None:
        if isinstance(said, Progress):
            steps.append(said.step)
        if len(steps) > moment:
            raise KeyboardInterrupt

    said = run_and_catch(memory_disk, offer, press)

    assert list_open_files() == open_before
    if said is None:
        assert len(steps) <= moment
        assert memory_disk.env.trial
    elif set(steps) == {Step.PROVE}:
        memory_disk.assert_untouched(before)
    else:
        assert EMPTIED in said
        memory_disk.assert_given_up(before)


@pytest.mark.slow
@settings(max_examples=80)
@given(moment=st.integers(1, 60))
def test_ctrl_c_within_any_access_to_the_disk_never_costs_what_runs(
    moment: int, sound_release: Release
) -> None:
    """Also in the middle of arming: then it is armed or not, and the message says which."""
    memory_disk = MemoryDisk()
    before = memory_disk.take_snapshot()
    memory_disk.interrupt_in = moment

    said = run_and_catch(memory_disk, offer_of(sound_release))

    failed = any(entry.what is Happened.INSTALL_FAILED for entry in memory_disk.record.entries)
    if not memory_disk.env.trial:
        assert said is not None
        memory_disk.assert_still_safe(before)
    else:
        assert not failed
        assert said is None or "on trial all the same" in said


def run_and_catch(disk: MemoryDisk, offer: Offer, on_progress: OnProgress = ignore_progress) -> str | None:
    """Install, and return what was said when it was interrupted; None where it was not."""
    try:
        install(disk.ports, LAYOUT, offer, on_progress)
    except (KeyboardInterrupt, Interrupted) as error:
        return str(error)
    return None


@pytest.mark.parametrize("behaviour", [Behaviour.STALL, Behaviour.SLOW])
def test_ctrl_c_during_a_download_leaves_no_connection_open(
    memory_disk: MemoryDisk, archive: Archive, server: HostileServer, behaviour: Behaviour
) -> None:
    """A signal that comes while abctl waits; the command line makes it a KeyboardInterrupt."""

    def press(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    url = server.offer("/update-img.tar.zst", archive.path.read_bytes(), behaviour)
    before = memory_disk.take_snapshot()
    open_before = list_open_files()

    def press_later() -> None:
        """Not before the slot set was disarmed, and the body is waited for."""
        while memory_disk.env[memory_disk.env.primary.other].state is not SlotState.EMPTY:
            time.sleep(0.01)
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    old = signal.signal(signal.SIGALRM, press)
    presser = threading.Thread(target=press_later, daemon=True)
    presser.start()
    try:
        with pytest.raises(Interrupted, match="left empty"):
            install(memory_disk.ports, LAYOUT, offer_from(url, archive))
    finally:
        presser.join(10)
        signal.signal(signal.SIGALRM, old)
    memory_disk.assert_given_up(before)
    assert len(list_open_files()) <= len(open_before) + 1  # the server's side of it may live on
