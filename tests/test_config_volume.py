"""The config volume as the doctor looks at it, mounted and from outside: what fills it, and its settings."""

import json
import os
import random
from pathlib import Path

import pytest

from abctl.core.layout import Role
from abctl.core.settings_place import DAMAGED_PATH, GOOD_PATH, PATH, may_be_sound
from abctl.core.space import Foreign, say_shortage
from abctl.core.units import KIB
from abctl.errors import DiskUnusable
from abctl.host.config_volume import DiskConfigVolume, LiveConfigVolume
from abctl.host.disk import open_disk
from abctl.host.ext4 import measure_ext4
from abctl.host.files import read_file
from abctl.host.layouts import read_layout
from tests.disks import GUEST, attached, copy_of, flip, needs_loop, place_of, run
from tests.fake_live import FakeHost
from tests.test_files import make_ext, make_tree, opened

SOUND = json.dumps({"version": 1, "deployment": "mainnet"}).encode()
DAMAGED = SOUND[:-5]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, read_layout("hostos"))


def put(host: FakeHost, path: str, data: bytes) -> Path:
    target = host.paths / f"boot/config/{path}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


# --- what fills it ----------------------------------------------------------------------------------


def test_of_a_mounted_one_the_largest_that_is_not_abctls_is_named(host: FakeHost) -> None:
    volume = LiveConfigVolume(host.paths)
    put(host, "abctl/trust", b"x" * 9000)
    assert volume.foreign() is None
    put(host, "a core", b"x" * 3000)
    found = volume.foreign()
    assert found is not None
    assert (found.path, found.size) == (str(host.paths / "boot/config/a core"), 3000)
    assert found.command == f"rm -i '{found.path}'"
    put(host, "logs/old/1.log", b"x" * 1000)
    put(host, "logs/2.log", b"x" * 5000)
    found = volume.foreign()
    assert found is not None
    assert found.path.endswith("/logs")
    assert found.size >= 6000
    assert found.command == f"du -xah {found.path} | sort -h | tail"
    assert volume.space().f_blocks > 0


def test_one_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, read_layout("hostos"))
    (host.paths / "boot/config").rmdir()
    for look in (LiveConfigVolume(host.paths).space, LiveConfigVolume(host.paths).foreign):
        with pytest.raises(DiskUnusable, match="cannot be looked at"):
            look()


@pytest.mark.parametrize(("kind", "block"), [("ext2", 1024), ("ext4", 4096)])
def test_what_lies_on_one_from_outside_is_measured_with_all_that_is_below(
    tmp_path: Path, kind: str, block: int
) -> None:
    tree = make_tree(tmp_path / "tree", {"one": b"x" * 70_000, "logs/a/b": b"y" * 5000, "logs/c": b"z" * 800})
    (tree / "link").symlink_to("one")
    image = make_ext(tmp_path / "image", kind, block, tree)
    with opened(image) as volume:
        found = {entry.name: entry for entry in measure_ext4(volume)}
    assert set(found) == {"one", "logs", "lost+found"}
    assert (found["one"].size, found["one"].is_folder) == (70_000, False)
    # A folder counts its own blocks too.
    assert (found["logs"].size, found["logs"].is_folder) == (5800 + 2 * block, True)


def test_a_folder_that_leads_back_to_itself_is_counted_once(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"outer/inner/file": b"x" * 100})
    image = make_ext(tmp_path / "image", "ext2", 1024, tree)
    inner = run("debugfs", "-R", "stat /outer/inner", image).split("Inode: ")[1].split()[0]
    outer = run("debugfs", "-R", "stat /outer", image).split("Inode: ")[1].split()[0]
    block = int(run("debugfs", "-R", f"blocks <{inner}>", image).split()[0])
    data = image.read_bytes()[block * KIB : (block + 1) * KIB]
    entry = data.index(b"file") - 8
    flip(image, block * KIB + entry, int(outer) ^ data[entry])
    with opened(image) as volume:
        assert {entry.name: entry.size for entry in measure_ext4(volume)}["outer"] == 2 * KIB


def test_a_damaged_one_is_measured_or_refused_and_never_more_than_that(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {f"folder{n}/file{n}": b"x" * n for n in range(20)})
    image = make_ext(tmp_path / "image", "ext4", 1024, tree)
    whole = image.read_bytes()
    used = [at for at in range(0, len(whole), KIB) if whole[at : at + KIB].strip(b"\0")]
    refused = 0
    for seed in range(150):
        chance = random.Random(seed)
        for _ in range(3):
            flip(image, chance.choice(used) + chance.randrange(KIB), chance.randrange(1, 256))
        with opened(image) as volume:
            try:
                list(measure_ext4(volume))
            except DiskUnusable:
                refused += 1
                image.write_bytes(whole)
    assert refused


def test_a_shortage_names_what_takes_the_room() -> None:
    class Full:
        f_frsize, f_blocks, f_bavail = 1024, 16 * 1024, 10

    said = say_shortage(Full(), Foreign("/core", 12 * 1024 * 1024)) or ""
    assert said.endswith("remove what is not abctl's from it; /core takes 12 MiB of it")
    assert (say_shortage(Full()) or "").endswith("remove what is not abctl's from it")


# --- the settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sound"),
    [(SOUND, True), (b"{}", True), (DAMAGED, False), (b"", False), (b"[1]", False), (b"\xff", False)],
)
def test_settings_are_looked_at_without_their_fields(data: bytes, sound: bool) -> None:
    assert may_be_sound(data) is sound
    assert not may_be_sound(b" " * 65 * KIB + data)


@pytest.mark.parametrize(
    ("settings", "good", "words"),
    [
        (None, None, ()),
        (SOUND, None, ()),
        (None, SOUND, ("is gone: the last good copy counts",)),
        (DAMAGED, SOUND, ("it is not JSON", "the last good copy counts")),
        (DAMAGED, None, ("it is not JSON", "there is no good copy: write it anew")),
    ],
)
def test_settings_that_do_not_count_are_told_with_what_counts_instead(
    host: FakeHost, settings: bytes | None, good: bytes | None, words: tuple[str, ...]
) -> None:
    volume = LiveConfigVolume(host.paths)
    for path, data in ((PATH, settings), (GOOD_PATH, good)):
        if data is not None:
            put(host, path, data)
    said = volume.settings_problems()
    assert len(said) == (1 if words else 0)
    assert all(word in said[0] for word in words)
    assert volume.settings().is_copy is (good is not None)


def test_damaged_settings_are_taken_from_the_good_copy_and_kept_beside_it(host: FakeHost) -> None:
    volume = LiveConfigVolume(host.paths)
    settings = put(host, PATH, DAMAGED)
    put(host, GOOD_PATH, SOUND)
    volume.restore_settings()
    assert volume.settings_problems() == ()
    assert json.loads(settings.read_bytes())["deployment"] == "mainnet"
    assert (host.paths / f"boot/config/{DAMAGED_PATH}").read_bytes() == DAMAGED
    before = settings.stat().st_mtime_ns
    volume.restore_settings()
    assert settings.stat().st_mtime_ns == before


@needs_loop
def test_those_of_a_disk_are_read_and_restored_from_outside(tmp_path: Path) -> None:
    image = copy_of(GUEST, tmp_path)
    disk = open_disk(image)
    volume, home = DiskConfigVolume(disk), disk.layout.find_role(Role.CONFIG)
    assert home is not None
    assert volume.settings_problems() == ()
    for name, data in ((PATH, DAMAGED), (GOOD_PATH, SOUND), (DAMAGED_PATH, b"of long ago")):
        (tmp_path / "data").write_bytes(data)
        with attached(image, place_of(image, Role.CONFIG)) as device:
            run("debugfs", "-w", "-R", f"write {tmp_path / 'data'} {name}", device)
    assert "it is not JSON" in volume.settings_problems()[0]
    volume.restore_settings()
    assert volume.settings_problems() == ()
    with disk.open_volume(home) as opened_volume:
        assert read_file(opened_volume, DAMAGED_PATH, KIB) == DAMAGED
        assert read_file(opened_volume, PATH, KIB) == SOUND


def test_settings_that_are_a_pipe_are_told_and_not_waited_for(host: FakeHost) -> None:
    settings = put(host, PATH, SOUND)
    settings.unlink()
    os.mkfifo(settings)
    (said,) = LiveConfigVolume(host.paths).settings_problems()
    assert "cannot be used" in said
