"""A whole installation, from a source to a slot set on trial."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from abctl.core.bootenv import BootEnv, SlotSet, SlotState, Trial, Why
from abctl.core.grub import next_boot
from abctl.core.record import Happened
from abctl.core.release import Compression
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB, Version
from abctl.errors import NotConfirmed, ReadBackMismatch, VersionRefused
from abctl.host.source import locate_release
from abctl.update.install import fill_slot_set, install, plan_only
from abctl.update.progress import Progress, Remark, Step
from tests.fake_volumes import LAYOUT, MemoryDisk, make_images
from tests.hostile_server import Behaviour, HostileServer
from tests.refusals import offer_of
from tests.releases import Archive, Release, make_release, pack_archive, pack_release

REPOSITORY = Path(__file__).parents[1]


def assert_on_trial(memory_disk: MemoryDisk, images: dict[Part, Path], version: str) -> None:
    """Slot set B holds exactly these images, Var is empty, and the next power-on tries it."""
    for part, image in images.items():
        data = image.read_bytes()
        assert memory_disk.slots[Slot(SlotName.B, part)][: len(data)] == data, (
            f"B_{part} is not what was offered"
        )
    assert not any(memory_disk.slots[Slot(SlotName.B, Part.VAR)][: 16 * MIB])
    assert memory_disk.env.trial == Trial(SlotName.B, 3)
    assert memory_disk.env[SlotName.B] == SlotSet(SlotState.UNTESTED, Version(version))
    then = next_boot(memory_disk.files)
    assert (then.slot_set, then.second, then.why) == (SlotName.B, SlotName.A, Why.TRIAL)


@pytest.mark.parametrize("compression", Compression)
def test_a_release_directory_is_installed_and_put_on_trial(
    memory_disk: MemoryDisk, tmp_path: Path, compression: Compression
) -> None:
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images, compression=compression)
    before = memory_disk.take_snapshot()

    done = install(memory_disk.ports, LAYOUT, locate_release(str(release.directory), release.manifest_sha256))

    assert_on_trial(memory_disk, images, "2.0.0")
    assert (done.target, done.version, done.sha256) == (SlotName.B, "2.0.0", release.manifest_sha256)
    assert done.downloaded == sum(
        file.stat().st_size for file in release.directory.iterdir() if file != release.manifest
    )
    assert 0 < done.written < sum(image.stat().st_size for image in images.values())
    for part in Part:
        assert memory_disk.slots[Slot(SlotName.A, part)] == before.slots[Slot(SlotName.A, part)]


def test_a_release_directory_is_installed_from_a_server(
    memory_disk: MemoryDisk, tmp_path: Path, server: HostileServer
) -> None:
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images)
    url = server.offer_folder("/v2", release.directory)

    install(memory_disk.ports, LAYOUT, locate_release(url, release.manifest_sha256))

    assert_on_trial(memory_disk, images, "2.0.0")
    files = ["/v2/boot.img.zst", "/v2/root.img.zst"]
    assert server.asked == ["/v2/manifest.json", *files, *files]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(
    "name", ["update-img.tar.zst", "update-img.tar.gz", "update-img.tgz", "update-img.tar"]
)
def test_an_archive_is_installed_and_put_on_trial(
    memory_disk: MemoryDisk, tmp_path: Path, name: str, sparse: bool
) -> None:
    images = make_images(tmp_path / "images")
    archive = pack_archive(tmp_path / name, "2.0.0", images, sparse=sparse)

    done = install(memory_disk.ports, LAYOUT, locate_release(str(archive.path), archive.sha256))

    assert_on_trial(memory_disk, images, "2.0.0")
    assert done.downloaded == archive.path.stat().st_size


@pytest.mark.parametrize("behaviour", [Behaviour.OK, Behaviour.CHUNKED, Behaviour.NO_LENGTH, Behaviour.SLOW])
def test_an_archive_is_installed_from_a_server_however_it_sends(
    memory_disk: MemoryDisk, tmp_path: Path, server: HostileServer, behaviour: Behaviour
) -> None:
    images = make_images(tmp_path / "images")
    archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", images)
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes(), behaviour)

    install(memory_disk.ports, LAYOUT, locate_release(f"{url}?token=1", archive.sha256))

    assert_on_trial(memory_disk, images, "2.0.0")
    assert server.asked == ["/update-img.tar.zst?token=1"]


def test_what_was_installed_is_in_the_record(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    release = pack_release(tmp_path / "release", "2.0.0", make_images(tmp_path / "images"))
    done = install(memory_disk.ports, LAYOUT, locate_release(str(release.directory), release.manifest_sha256))
    [entry] = memory_disk.record.entries
    assert (entry.what, entry.slot_set, entry.version) == (Happened.INSTALLED, SlotName.B, "2.0.0")
    assert (entry.sha256, entry.written) == (release.manifest_sha256, done.written)


def test_a_second_upgrade_goes_into_the_other_slot_set(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    memory_disk.set_env(
        BootEnv(SlotName.B, slot_sets={name: SlotSet(SlotState.GOOD) for name in SlotName}, generation=9)
    )
    memory_disk.running = SlotName.B
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images)
    before = memory_disk.take_snapshot()

    done = install(memory_disk.ports, LAYOUT, locate_release(str(release.directory), release.manifest_sha256))

    assert done.target is SlotName.A
    assert memory_disk.env.trial == Trial(SlotName.A, 3)
    for part in Part:
        assert memory_disk.slots[Slot(SlotName.B, part)] == before.slots[Slot(SlotName.B, part)]


def test_an_upgrade_after_one_that_was_interrupted_starts_over(
    memory_disk: MemoryDisk, tmp_path: Path
) -> None:
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images)
    offer = locate_release(str(release.directory), release.manifest_sha256)
    memory_disk.space = 1 * MIB
    with pytest.raises(Exception, match="no space is left"):
        install(memory_disk.ports, LAYOUT, offer)
    memory_disk.space = None

    install(memory_disk.ports, LAYOUT, offer)

    assert_on_trial(memory_disk, images, "2.0.0")


def test_the_head_of_boot_is_the_last_thing_written(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    release = pack_release(tmp_path / "release", "2.0.0", make_images(tmp_path / "images"))
    heads = []

    def look(said: Progress | Remark) -> None:
        if isinstance(said, Progress) and said.step is not Step.PROVE:
            heads.append(any(memory_disk.slots[Slot(SlotName.B, Part.BOOT)][:MIB]))

    install(memory_disk.ports, LAYOUT, locate_release(str(release.directory), release.manifest_sha256), look)
    assert heads
    assert not any(heads)


def test_only_the_first_16_mib_of_var_are_emptied(release: Release) -> None:
    disk = MemoryDisk(var_size=18 * MIB)
    before = disk.take_snapshot()
    install(disk.ports, LAYOUT, offer_of(release))
    in_b, in_a = Slot(SlotName.B, Part.VAR), Slot(SlotName.A, Part.VAR)
    assert not any(disk.slots[in_b][: 16 * MIB])
    assert disk.slots[in_b][16 * MIB :] == before.slots[in_b][16 * MIB :]
    assert disk.slots[in_a] == before.slots[in_a]


def test_progress_tells_each_step_of_each_image_to_its_end(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images)
    told: list[Progress | Remark] = []
    install(
        memory_disk.ports,
        LAYOUT,
        locate_release(str(release.directory), release.manifest_sha256),
        told.append,
    )
    progress = [item for item in told if isinstance(item, Progress)]
    for step in (Step.PROVE, Step.WRITE, Step.READ_BACK):
        for part, image in images.items():
            done = [item.done for item in progress if (item.step, item.part) == (step, part)]
            assert done == sorted(done)
            assert done[-1] == image.stat().st_size
            assert {item.total for item in progress if item.part is part} == {image.stat().st_size}


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(
    memory_disk: MemoryDisk, tmp_path: Path
) -> None:
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images)
    before = memory_disk.take_snapshot()

    plan = plan_only(
        memory_disk.ports, LAYOUT, locate_release(str(release.directory), release.manifest_sha256)
    )

    memory_disk.assert_untouched(before)
    assert (plan.target, plan.version, plan.overwritten) == (SlotName.B, "2.0.0", "0.9.0")
    assert {image.slot.part: image.size for image in plan.images} == {
        part: image.stat().st_size for part, image in images.items()
    }
    assert plan.download_size == sum(image.download_size or 0 for image in plan.images)


def test_a_dry_run_of_an_archive_reads_it_to_its_end(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images")
    archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", images)
    before = memory_disk.take_snapshot()

    plan = plan_only(memory_disk.ports, LAYOUT, locate_release(str(archive.path), archive.sha256))

    memory_disk.assert_untouched(before)
    assert plan.version == "2.0.0"
    assert plan.image_of(Part.ROOT).size == images[Part.ROOT].stat().st_size
    assert plan.download_size == archive.path.stat().st_size


def test_a_dry_run_of_an_archive_on_a_server_fetches_no_image(
    memory_disk: MemoryDisk, tmp_path: Path, server: HostileServer
) -> None:
    archive = pack_archive(tmp_path / "update-img.tar", "2.0.0", make_images(tmp_path / "images"))
    url = server.offer("/update-img.tar", archive.path.read_bytes(), Behaviour.SLOW)

    plan = plan_only(memory_disk.ports, LAYOUT, locate_release(url, archive.sha256))

    assert (plan.version, plan.download_size) == (None, archive.path.stat().st_size)
    assert server.sent < archive.path.stat().st_size


def test_a_new_disk_is_filled_with_the_same_checks(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images")
    release = pack_release(tmp_path / "release", "2.0.0", images)
    offer = locate_release(str(release.directory), release.manifest_sha256)
    files = memory_disk.files

    done = fill_slot_set(memory_disk.ports.slots, LAYOUT, SlotName.A, offer)

    assert (done.target, done.version) == (SlotName.A, "2.0.0")
    for part, image in images.items():
        data = image.read_bytes()
        assert memory_disk.slots[Slot(SlotName.A, part)][: len(data)] == data
    assert memory_disk.files == files
    memory_disk.flipped = (Slot(SlotName.A, Part.ROOT), 4096)
    with pytest.raises(ReadBackMismatch):
        fill_slot_set(memory_disk.ports.slots, LAYOUT, SlotName.A, offer)


@pytest.mark.parametrize("from_server", [True, False])
@pytest.mark.parametrize("version_comes_last", [True, False])
def test_a_refused_version_in_an_archive_is_refused_when_it_is_met(
    *,
    memory_disk: MemoryDisk,
    tmp_path: Path,
    server: HostileServer,
    images: dict[Part, Path],
    from_server: bool,
    version_comes_last: bool,
) -> None:
    memory_disk.set_env(memory_disk.env.with_slot_set(SlotName.B, SlotSet(SlotState.BAD, Version("2.0.0"))))
    names = ("./boot.img", "./root.img", "./VERSION.TXT") if version_comes_last else (".",)
    archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", images, names=names)
    where = str(archive.path)
    if from_server:
        where = server.offer("/update-img.tar.zst", archive.path.read_bytes())
    before = memory_disk.take_snapshot()

    with pytest.raises(VersionRefused, match=r"2\.0\.0 is refused"):
        install(memory_disk.ports, LAYOUT, locate_release(where, archive.sha256))

    if from_server and version_comes_last:
        memory_disk.assert_given_up(before)
    else:
        memory_disk.assert_untouched(before)


def test_an_archive_that_fell_back_is_refused_by_its_digest_before_it_is_fetched(
    memory_disk: MemoryDisk, tmp_path: Path, server: HostileServer
) -> None:
    archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", make_images(tmp_path / "images"))
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes())
    fall_back(memory_disk, archive, url)
    server.asked.clear()
    before = memory_disk.take_snapshot()

    with pytest.raises(VersionRefused):
        install(memory_disk.ports, LAYOUT, locate_release(url, archive.sha256))

    memory_disk.assert_untouched(before)
    assert server.asked == []


def fall_back(memory_disk: MemoryDisk, archive: Archive, url: str) -> None:
    """Install it, and let all its attempts be used up."""
    install(memory_disk.ports, LAYOUT, locate_release(url, archive.sha256))
    for _ in range(4):
        memory_disk.files = next_boot(memory_disk.files).files


def test_nothing_is_installed_while_a_trial_is_unconfirmed(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    release = pack_release(tmp_path / "release", "2.0.0", make_images(tmp_path / "images"))
    offer = locate_release(str(release.directory), release.manifest_sha256)
    install(memory_disk.ports, LAYOUT, offer)
    before = memory_disk.take_snapshot()
    with pytest.raises(NotConfirmed):
        install(memory_disk.ports, LAYOUT, offer)
    memory_disk.assert_untouched(before)


def test_a_release_is_the_same_bytes_whenever_it_is_built(tmp_path: Path) -> None:
    first = make_release(tmp_path / "first", "2.0.0")
    assert first.manifest_sha256 == make_release(tmp_path / "second", "2.0.0").manifest_sha256


@pytest.mark.slow
@pytest.mark.parametrize("form", ["directory", "archive"])
def test_memory_stays_under_100_mib_whatever_the_size_of_the_image(tmp_path: Path, form: str) -> None:
    """120 MiB of noise and 280 MiB of zeros, in a process of its own, onto a real file."""
    images = {Part.BOOT: tmp_path / "boot.img", Part.ROOT: tmp_path / "root.img"}
    images[Part.BOOT].write_bytes(os.urandom(2 * MIB))
    with images[Part.ROOT].open("wb") as file:
        for _ in range(40):
            file.write(os.urandom(3 * MIB))
            file.seek(7 * MIB, os.SEEK_CUR)
        file.truncate(400 * MIB)
    if form == "directory":
        release = pack_release(tmp_path / "release", "2.0.0", images)
        what, sha256 = release.directory, release.manifest_sha256
    else:
        archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", images)
        what, sha256 = archive.path, archive.sha256
    done = subprocess.run(
        [sys.executable, "-m", "tests.install_in_a_child", str(tmp_path / "slots"), str(what), sha256],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout) * 1024
    assert peak < 100 * MIB, f"{peak / MIB:.0f} MiB"
    subprocess.run(["cmp", "-n", str(400 * MIB), images[Part.ROOT], tmp_path / "slots/A_root"], check=True)
