"""A config volume whose host went down in the middle: its journal is replayed before anything is written."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from abctl.core import jobs_file, marks, record
from abctl.core.layout import Role
from abctl.core.record import Entry, Happened, Record
from abctl.core.units import Seconds
from abctl.errors import InUse, WriteFailed
from abctl.host.config_volume import is_unclean, make_clean, put_on_config_volume
from abctl.host.disk import open_disk
from tests.disks import (
    GUEST,
    KINDS,
    attached,
    copy_image,
    copy_of,
    cut_out,
    needs_loop,
    place_of,
    record_of,
    run,
)
from tests.hostile_repository import run_here

pytestmark = pytest.mark.slow

SOUND, DAMAGED = '{"version": 1, "deployment": "mainnet"}', "{"


@contextmanager
def mounted(image: Path, point: Path, *options: str) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    with attached(image, place_of(image, Role.CONFIG)) as device:
        run("mount", *options, device, point)
        try:
            yield point / "abctl"
        finally:
            run("umount", point)


def flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def crash(image: Path, work: Callable[[Path], Any]) -> Path:
    """Let a host work on its config volume until what it did is on the disk, and take the power away."""
    point = image.with_name("mnt")
    with mounted(image, point) as folder:
        work(folder)
        for path in (*folder.iterdir(), folder):
            flush(path)  # which unlike sync(1) leaves what was changed in the journal alone
        crashed = copy_image(image, image.with_name("crashed.img"))
    assert is_unclean(open_disk(crashed))
    return crashed


def doctor(image: Path, *options: str) -> dict[str, Any]:
    said = run_here(["--disk", str(image), "doctor", *options, "--json"])
    return {item["name"]: item for item in said.json("doctor")["findings"]}


def read_all(image: Path) -> dict[str, bytes]:
    """Return what the next host to mount it finds, which is what counts."""
    with mounted(image, image.with_name("mnt")) as folder:
        found = {path.name: path.read_bytes() for path in folder.iterdir()}
    run("e2fsck", "-fn", cut_out(image, Role.CONFIG))
    return found


@needs_loop
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_doctor_writes_outlasts_the_next_mount(kind: str, tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        (folder / "jobs").unlink()
        (folder / "settings.json").write_text(DAMAGED)
        (folder / "settings.good.json").write_text(SOUND)
        run("sync", "-f", folder)
        for number in range(30):
            (folder / f"key{number}").write_bytes(bytes([number]) * 3000)

    image = crash(copy_of(kind, tmp_path), work)
    before = doctor(image)
    assert "missing, or hidden, for the file system was not left clean" in before["config-volume"]["sentence"]
    after = doctor(image, "--repair")
    cleaned, made = after["config-volume"]["repaired"].split(", and ")
    assert cleaned == "cleaned the file system of the config volume with e2fsck"
    assert made == "made abctl/jobs anew, with nothing in it"
    assert after["settings"]["repaired"] == "wrote the settings anew from their last good copy"
    found = read_all(image)
    assert found["jobs"] == jobs_file.FORM.blank()
    assert found["settings.json"] == SOUND.encode()
    assert found["settings.damaged"] == DAMAGED.encode()
    assert [found[f"key{number}"] for number in range(30)] == [bytes([n]) * 3000 for n in range(30)]


@needs_loop
def test_what_stands_only_in_the_journal_is_not_made_anew(tmp_path: Path) -> None:
    image = copy_of(GUEST, tmp_path)
    known = Record(serial=5).with_entry(Entry(Seconds(1), Happened.ALLOWED, text="of this host"))
    record_of(open_disk(image)).write(known)
    with mounted(image, tmp_path / "mnt") as folder:
        kept = (folder / "record").read_bytes()
        (folder / "record").unlink()
        (folder / "settings.good.json").write_text(SOUND)

    def work(folder: Path) -> None:
        (folder / "record").write_bytes(kept)
        (folder / "settings.json").write_text(SOUND)

    image = crash(image, work)
    before = doctor(image)
    assert f"{record.PATH} is missing, or hidden" in before["config-volume"]["sentence"]
    assert "is gone" in before["settings"]["sentence"]
    after = doctor(image, "--repair")
    assert after["config-volume"]["repaired"] == "cleaned the file system of the config volume with e2fsck"
    assert {after[name]["verdict"] for name in ("config-volume", "settings")} == {"ok"}
    assert record_of(open_disk(image)).read() == known
    found = read_all(image)
    assert (found["record"], found["settings.json"]) == (kept, SOUND.encode())
    assert "settings.damaged" not in found


@needs_loop
def test_settings_that_stand_only_in_the_journal_count_after_it_is_replayed(tmp_path: Path) -> None:
    image = copy_of(GUEST, tmp_path)
    with mounted(image, tmp_path / "mnt") as folder:
        (folder / "settings.good.json").write_text(DAMAGED.replace("{", '{"version": 1}'))
    image = crash(image, lambda folder: (folder / "settings.json").write_text(SOUND))
    assert doctor(image, "--repair")["settings"]["repaired"] == (
        "cleaned the file system of the config volume with e2fsck, and then they were sound"
    )
    assert read_all(image)["settings.json"] == SOUND.encode()


@needs_loop
def test_where_the_journal_cannot_be_replayed_nothing_is_written_and_the_command_mends_it(
    tmp_path: Path,
) -> None:
    image = copy_of(GUEST, tmp_path)
    with attached(image, place_of(image, Role.CONFIG)) as device:
        # Two files share a block, which is for somebody to decide; and a check is due.
        block = run("debugfs", "-R", f"bmap {jobs_file.PATH} 0", device).strip()
        run("debugfs", "-w", "-R", f"sif {marks.PATH} block[5] {block}", device)
        run("tune2fs", "-c", "1", "-C", "9", device)
    image = crash(image, lambda folder: (folder / "evidence").unlink())
    for _ in range(2):  # the second time the journal is replayed, and the rest as before
        with pytest.raises(WriteFailed, match="was not left clean, and e2fsck failed") as failed:
            put_on_config_volume(open_disk(image), {"abctl/new": b"new"})
    found = re.findall(r"'(.*)'", str(failed.value))
    subprocess.run(["bash", "-c", found[0]], check=False, capture_output=True)
    assert run("losetup", "-j", image) == ""
    put_on_config_volume(open_disk(image), {"abctl/new": b"new"})
    assert read_all(image)["new"] == b"new"


@needs_loop
def test_the_journal_of_a_mounted_one_is_left_to_its_kernel(tmp_path: Path) -> None:
    image = crash(copy_of(GUEST, tmp_path), lambda folder: (folder / "jobs").unlink())
    with mounted(image, tmp_path / "mnt", "-o", "ro,noload"):
        before = cut_out(image, Role.CONFIG).read_bytes()
        for write in (
            lambda: put_on_config_volume(open_disk(image), {}),
            lambda: make_clean(open_disk(image)),
        ):
            with pytest.raises(InUse, match="config is mounted on"):
                write()
        assert cut_out(image, Role.CONFIG).read_bytes() == before
