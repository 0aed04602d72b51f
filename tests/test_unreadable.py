"""A disk that does not give back a part of what abctl keeps: the rest counts, and nobody overwrites it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from abctl.cli.doctor_patient import Patient
from abctl.cli.doctor_repairs import repair_kept
from abctl.cli.wiring import Target
from abctl.core import jobs_file, marks, record, trust_state
from abctl.core.found import Extent
from abctl.core.layout import Role
from abctl.core.trust_state import TrustState
from abctl.core.units import KIB, MIB
from abctl.errors import WriteFailed
from abctl.host.block import ExtentVolume
from abctl.host.disk import DiskConfigFile, open_disk
from abctl.host.ext4 import find_in_ext4
from abctl.host.layouts import read_layout
from abctl.host.live import LiveConfigFile, LivePaths
from abctl.update.first import blank_config_files
from abctl.update.memory import ConfigTrust
from tests.disks import GUEST, attached, copy_of, needs_loop, place_of, run
from tests.failing_disk import FailingDisk
from tests.fake_live import FakeHost, live_record
from tests.hostile_repository import run_here

FORM = trust_state.FORM
OLD, NEW = TrustState(host_id="this host"), TrustState(host_id="this host", metadata={"timestamp": "9"})
BLANK = blank_config_files()


def write_both(trust: ConfigTrust, times: int = 2) -> list[TrustState]:
    """Write both halves; return what they hold by their place."""
    written = [OLD, OLD]
    for _ in range(times):
        trust.write(replace(NEW, serial=trust.read().serial))
        found = trust.read()
        written[found.serial % 2] = found
    return written


# --- on a real disk ---------------------------------------------------------------------------------


@contextmanager
def mounted(device: str, point: Path) -> Iterator[LivePaths]:
    point.mkdir(exist_ok=True)
    run("mount", device, point)
    try:
        yield LivePaths(config=str(point))
    finally:
        run("umount", point)


@needs_loop
def test_of_a_mounted_file_the_half_that_a_real_disk_gives_back_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The device is longer than what is below it: what lies behind cannot be read."""
    image, point = tmp_path / "image", tmp_path / "mnt"
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", image, "24M")

    def trust_at(paths: LivePaths) -> ConfigTrust:
        return ConfigTrust(LiveConfigFile(trust_state.PATH, FORM.file_size, paths))

    with attached(image) as device:
        with mounted(device, point) as paths:
            first, second = write_both(trust_at(paths))
        with ExtentVolume(image, [Extent(0, 24 * MIB)], "config") as volume:
            places = find_in_ext4(volume, trust_state.PATH)
        assert places is not None
        os.truncate(image, places[-1].end - FORM.half_size + 64 * KIB)
        with mounted(device, point) as paths:
            assert trust_at(paths).read() == first != second
            (said,) = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
            assert said.startswith("one half of abctl/trust cannot be read, and counts as damaged")
            assert "I/O error" in said
            # What is written next goes where nothing could be read.
            trust_at(paths).write(first)
            assert trust_at(paths).read() == replace(first, serial=first.serial + 1)
            assert trust_state.decode((point / trust_state.PATH).read_bytes()[: FORM.half_size]) == first


# --- a disk from outside ----------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return copy_of(GUEST, tmp_path)


@pytest.fixture
def disk(image: Path, monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch, image)


def file_on(image: Path, path: str = trust_state.PATH) -> DiskConfigFile:
    return DiskConfigFile(open_disk(image), path, len(BLANK[path]))


def sectors_of(image: Path, path: str, offset: int, length: int = 512) -> tuple[Extent, ...]:
    """Return where a part of a file on the config volume is on the disk."""
    with (
        open_disk(image).open_file(Role.CONFIG, path) as file,
        file.part([Extent(offset, length)], "") as part,
    ):
        return part.extents


def doctor(image: Path, *options: str) -> Any:
    """Return what the doctor says of the files on the config volume."""
    said = run_here(["--disk", str(image), "doctor", *options, "--json"])
    (found,) = [item for item in said.json("doctor")["findings"] if item["name"] == "config-volume"]
    return found


@pytest.mark.parametrize("bad", [0, 1])
def test_one_bad_sector_costs_its_half_and_no_writer_takes_the_other(
    image: Path, disk: FailingDisk, bad: int, caplog: pytest.LogCaptureFixture
) -> None:
    trust = ConfigTrust(file_on(image))
    good = write_both(trust, 3)[1 - bad]
    disk.spoil(sectors_of(image, trust_state.PATH, bad * FORM.half_size + 40 * KIB))
    assert trust.read() == good
    assert "one half of abctl/trust cannot be read" in caplog.text
    assert "the disk reports an I/O error" in caplog.text
    trust.write(good)
    assert trust.read().serial == good.serial + 1
    assert trust_state.decode(FORM.split(file_on(image).read())[1 - bad]) == good


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("path", [trust_state.PATH, record.PATH])
def test_the_doctor_names_the_bad_half_and_writes_that_one_anew_alone(
    image: Path, disk: FailingDisk, path: str, bad: int
) -> None:
    write_both(ConfigTrust(file_on(image)))
    half = len(BLANK[path]) // 2
    run_here(["--disk", str(image), "--booted", "A", "mark-bad", "B", "--reason", "to have both halves"])
    before = file_on(image, path).read()
    disk.spoil(sectors_of(image, path, bad * half))
    kept = before[:half] if bad else before[half:]
    found = doctor(image)
    assert found["verdict"] == "warning"
    assert (
        f"on the config volume, one half of {path} cannot be read, and the other one counts"
        in found["sentence"]
    )
    assert "have it replaced" in found["sentence"]
    assert "missing" not in found["sentence"]
    assert found["command"] == f"abctl --disk {image} doctor --repair"
    after = doctor(image, "--repair")
    assert after["verdict"] == "ok"
    assert after["repaired"] == f"wrote anew what was not whole of {path}, and nothing of what was"
    data = file_on(image, path).read()
    assert (data[:half] if bad else data[half:]) == kept
    assert disk.bad == []


def test_where_both_halves_are_lost_that_is_said_and_the_file_begun_anew(
    image: Path, disk: FailingDisk
) -> None:
    write_both(ConfigTrust(file_on(image)))
    for half in (0, FORM.half_size):
        disk.spoil(sectors_of(image, trust_state.PATH, half))
    assert file_on(image).read() == b""
    found = doctor(image)
    assert found["verdict"] == "fault"
    assert "abctl/trust cannot be read, and what it held is lost: the disk reports" in found["sentence"]
    assert doctor(image, "--repair")["repaired"] == "made abctl/trust anew, with nothing in it"
    assert file_on(image).read() == BLANK[trust_state.PATH]


def test_marks_that_can_be_read_stay_beside_those_that_cannot(image: Path, disk: FailingDisk) -> None:
    left = marks.encode_marks([marks.Mark(7, 2)])
    file_on(image, marks.PATH).overwrite(0, left)
    disk.spoil(sectors_of(image, marks.PATH, marks.FILE_SIZE // 2))
    assert "one half of abctl/marks cannot be read" in doctor(image)["sentence"]
    assert doctor(image, "--repair")["verdict"] == "ok"
    assert file_on(image, marks.PATH).read() == left


def test_files_that_cannot_be_reached_are_not_called_missing_and_not_made(image: Path) -> None:
    place = place_of(image, Role.CONFIG)
    with ExtentVolume(image, [place], "config", writable=True) as volume:
        volume.write(0, memoryview(b"\xff" * 4 * MIB))
    found = doctor(image, "--repair")
    assert found["verdict"] == "fault"
    assert "and 2 more cannot be read: the ext4 file system on config cannot be used" in found["sentence"]
    assert "missing" not in found["sentence"]
    assert (found["command"], found["repaired"]) == (None, None)


@needs_loop
@pytest.mark.parametrize("half", [False, True], ids=["nothing", "a half"])
def test_a_short_file_is_made_anew_unless_something_in_it_counts(
    image: Path, tmp_path: Path, half: bool
) -> None:
    write_both(ConfigTrust(file_on(image)))
    short = tmp_path / "short"
    short.write_bytes(file_on(image).read()[: FORM.half_size] if half else b"nothing")
    with attached(image, place_of(image, Role.CONFIG)) as device:
        for command in (f"rm {trust_state.PATH}", f"write {short} {trust_state.PATH}"):
            run("debugfs", "-w", "-R", command, device)
    known = ConfigTrust(file_on(image)).read()
    found = doctor(image, "--repair")
    if half:
        assert (
            "abctl/trust is too short, and what is in it counts: mount the config volume" in found["repaired"]
        )
        assert ConfigTrust(file_on(image)).read() == known != TrustState()
    else:
        assert found["verdict"] == "ok"
        assert file_on(image).read() == BLANK[trust_state.PATH]


# --- a running host ---------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host on which the doctor of this machine looks."""
    made = FakeHost(tmp_path, read_layout("hostos"))
    monkeypatch.setattr("abctl.host.live.LiveConfigFile", partial(LiveConfigFile, paths=made.paths))
    for path, data in BLANK.items():
        target = made.paths / f"boot/config/{path}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    return made


def trust_of(host: FakeHost) -> ConfigTrust:
    return ConfigTrust(LiveConfigFile(trust_state.PATH, FORM.file_size, host.paths))


@pytest.mark.parametrize("bad", [0, 1])
def test_on_a_running_host_the_good_half_is_never_overwritten(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    path = host.paths / f"boot/config/{trust_state.PATH}"
    good = write_both(trust_of(host))[1 - bad]
    before = FORM.split(path.read_bytes())[1 - bad]
    FailingDisk(monkeypatch, path).spoil([Extent(bad * FORM.half_size + 4 * KIB, 512)])
    assert trust_of(host).read() == good
    (found,) = Patient(Target()).find_unsound()
    assert (found.path, found.harm) == (trust_state.PATH, "half")
    assert "wrote anew what was not whole of abctl/trust" in repair_kept(Patient(Target()))
    assert Patient(Target()).find_unsound() == ()
    assert trust_of(host).read() == good
    assert FORM.split(path.read_bytes()) == (
        (FORM.blank()[: FORM.half_size], before) if bad == 0 else (before, b" " * FORM.half_size)
    )


def test_on_a_running_host_a_short_file_grows_and_what_is_in_it_stays(host: FakeHost) -> None:
    trust, path = trust_of(host), host.paths / f"boot/config/{trust_state.PATH}"
    first, _ = write_both(trust)
    os.truncate(path, FORM.half_size + 100)
    left = host.paths / f"boot/config/{marks.PATH}"
    left.write_bytes(marks.encode_marks([marks.Mark(7, 2)])[:1024])
    (host.paths / f"boot/config/{jobs_file.PATH}").unlink()
    assert {item.harm for item in Patient(Target()).find_unsound()} == {"short", "missing"}
    said = repair_kept(Patient(Target()))
    assert said.startswith("made abctl/jobs anew, with nothing in it, and wrote anew what was not whole of ")
    assert Patient(Target()).find_unsound() == ()
    assert trust.read() == first
    assert left.read_bytes() == marks.encode_marks([marks.Mark(7, 2)])


def test_what_may_not_be_opened_is_told_from_what_is_missing(
    host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    path = host.paths / f"boot/config/{record.PATH}"
    path.unlink()
    with caplog.at_level(logging.WARNING):
        live_record(host.paths).read()
        assert caplog.text == ""
        path.symlink_to(path)
        live_record(host.paths).read()
    assert "abctl/record cannot be read: Too many levels of symbolic links" in caplog.text
    (found,) = Patient(Target()).find_unsound()
    assert found.harm == "closed"
    assert repair_kept(Patient(Target())) == "found nothing to mend any more"
    with pytest.raises(WriteFailed):
        live_record(host.paths).write(record.Record(serial=1))
