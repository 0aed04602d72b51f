"""Building a release: what is in the folder, the same bytes each time, and nothing where it fails."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from backports import zstd

from abctl.build.check import Checker
from abctl.build.files import open_image
from abctl.build.match import find_sources
from abctl.core.chunks import BLOCK_SIZE, CHUNK_SIZE, parse_block_index, parse_chunk_index
from abctl.core.delta import NEW
from abctl.core.release import MANIFEST_NAME, Compression, Image, parse_manifest
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import KIB, MIB
from abctl.errors import BadRelease, DigestMismatch
from abctl.host.source import locate_release
from abctl.update.install import install
from tests.fake_volumes import LAYOUT, MemoryDisk
from tests.releases import Images, Release, build_release, digest_of, pack_release

pytestmark = pytest.mark.slow

ABCTL = Path(sys.executable).with_name("abctl")
SCHEMA = Path(__file__).resolve().parents[1] / "schemas/build.schema.json"
BOOT_SIZE = 1 * MIB + 8 * KIB
ROOT_SIZE = 3 * MIB + 13 * KIB + 7  # neither whole blocks nor whole chunks


def old_root() -> bytes:
    """Less than two chunks of data, then zeros, and some data at the very end."""
    numbers = random.Random(1)
    data, end = numbers.randbytes(2 * MIB - 5 * BLOCK_SIZE), numbers.randbytes(3000)
    return data + bytes(ROOT_SIZE - len(data) - len(end)) + end


def new_root() -> bytes:
    """The same, moved by three blocks, with a few bytes changed here and there."""
    old = old_root()
    moved = random.Random(2).randbytes(3 * BLOCK_SIZE) + old[: 2 * MIB - 4 * BLOCK_SIZE]
    changed = bytearray(moved + old[len(moved) :])
    for place in range(100_000, 1_500_000, 300_000):
        changed[place : place + 5] = b"edits"
    return bytes(changed)


def write_images(folder: Path, root: bytes, boot: bytes | None = None) -> Images:
    folder.mkdir()
    (folder / "boot.img").write_bytes(boot or random.Random(3).randbytes(BOOT_SIZE))
    (folder / "root.img").write_bytes(root)
    return {part: folder / f"{part}.img" for part in (Part.BOOT, Part.ROOT)}


@dataclass(frozen=True)
class Built:
    """Two releases, the newer with a delta from the older, and the images they were built of."""

    old: Release
    new: Release
    images: Images


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    old = build_release(folder / "old", "1.0.0", write_images(folder / "1", old_root()))
    images = write_images(folder / "2", new_root())
    return Built(old, build_release(folder / "new", "2.0.0", images, older=(old.directory,)), images)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_build(out: Path, images: Images, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = build_command(out, images, *options)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def build_command(out: Path, images: Images, *options: str | Path) -> list[str]:
    files = [f"--{part}={image}" for part, image in images.items()]
    usual = ["--version", "2.0.0", "--layout", LAYOUT, "--level", "1", "--delta-level", "1", *files]
    return [str(ABCTL), "release", "build", str(out), *usual, *map(str, options)]


def assert_fails(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.lower().startswith(("abctl: error: ", "error: ")), done.stderr
    for word in words:
        assert word in last


# --- what is in the folder --------------------------------------------------------------------------


def test_any_zstd_reads_the_packed_images(built: Built) -> None:
    for part, image in built.images.items():
        packed = built.new.directory / f"{part}.img.zst"
        assert subprocess.run(["zstd", "-dc", packed], capture_output=True, check=True).stdout == (
            image.read_bytes()
        )
        subprocess.run(["zstd", "-q", "-t", packed], check=True)


def test_the_manifest_says_the_size_and_the_digest_of_every_file(built: Built) -> None:
    manifest = json.loads(built.new.manifest.read_bytes())
    named = {MANIFEST_NAME}
    for entry in manifest["images"]:
        files = [{**entry["download"], "file": entry["file"]}, entry["chunks"], entry["blocks"]]
        for said in files + entry.get("deltas", []):
            path = built.new.directory / said["file"]
            assert (said["size"], said["sha256"]) == (path.stat().st_size, digest_of(path))
            named.add(path.name)
        image = built.images[Part(entry["part"])]
        assert entry["image"] == {"size": image.stat().st_size, "sha256": digest_of(image)}
    assert named == set(read_all(built.new.directory))


def test_the_chunk_index_says_where_each_chunk_is_and_what_it_holds(built: Built) -> None:
    image = built.images[Part.ROOT].read_bytes()
    packed = (built.new.directory / "root.img.zst").read_bytes()
    data = (built.new.directory / "root.chunks").read_bytes()
    index = parse_chunk_index(data, "root.chunks", len(image), len(packed))
    assert index.count == 4
    for chunk in range(index.count):
        plain = image[chunk * CHUNK_SIZE : (chunk + 1) * CHUNK_SIZE]
        start, length = index.frame_of(chunk)
        frame = packed[start : start + length]
        assert zstd.decompress(frame) == plain
        assert index.digest_of(chunk) == hashlib.sha256(plain).digest()
        assert index.frame_digest_of(chunk) == hashlib.sha256(frame).digest()
        assert index.is_zero(chunk) == (not any(plain))
    assert [index.is_zero(chunk) for chunk in range(4)] == [False, False, True, False]


def test_the_block_index_has_the_digest_of_each_whole_block(built: Built) -> None:
    image = built.images[Part.ROOT].read_bytes()
    data = zstd.decompress((built.new.directory / "root.blocks.zst").read_bytes())
    index = parse_block_index(data, "root.blocks", len(image))
    assert index.count == ROOT_SIZE // BLOCK_SIZE
    for block in range(index.count):
        plain = image[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE]
        digest = hashlib.sha256(plain).digest()[:6] if any(plain) else bytes(6)
        assert index.short_of(block) == digest


def test_a_delta_brings_what_is_new_and_hardly_more(built: Built) -> None:
    """Three blocks of root are new; of those with edits the old bytes are known."""
    sizes = {
        entry["part"]: entry["deltas"] for entry in json.loads(built.new.manifest.read_bytes())["images"]
    }
    [[boot], [root]] = sizes["boot"], sizes["root"]
    assert (boot["version"], root["version"]) == ("1.0.0", "1.0.0")
    assert boot["size"] == boot["header"]["size"] < 100
    assert 3 * BLOCK_SIZE < root["size"] < 3 * BLOCK_SIZE + 700


def test_a_release_without_older_ones_has_no_deltas(built: Built) -> None:
    manifest = json.loads(built.old.manifest.read_bytes())
    assert all("deltas" not in entry for entry in manifest["images"])


def test_a_delta_that_saves_nothing_is_left_out_and_said_to_be(built: Built, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", random.Random(9).randbytes(MIB))
    done = run_build(tmp_path / "out", images, "--from", built.old.directory, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    [root] = [image for image in report["images"] if image["part"] == "root"]
    assert [delta["file"] for delta in root["deltas"]] == [None]
    assert "root.from-1.0.0.delta" not in read_all(tmp_path / "out")
    assert "boot.from-1.0.0.delta" in read_all(tmp_path / "out")


# --- the same each time -----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 5])
def test_the_same_images_make_the_same_bytes_whatever_the_threads(
    built: Built, tmp_path: Path, threads: int
) -> None:
    out = tmp_path / "out"
    build_release(out, "2.0.0", built.images, older=(built.old.directory,), threads=threads)
    assert read_all(out) == read_all(built.new.directory)


@pytest.mark.parametrize("compression", Compression)
def test_the_form_of_the_older_release_does_not_matter(
    built: Built, tmp_path: Path, compression: Compression
) -> None:
    images = write_images(tmp_path / "images", old_root())
    older = pack_release(tmp_path / "older", "1.0.0", images, layouts=(LAYOUT,), compression=compression)
    build_release(tmp_path / "out", "2.0.0", built.images, older=(older.directory,))
    assert read_all(tmp_path / "out") == read_all(built.new.directory)


def test_holes_make_the_same_release_as_zeros(built: Built, tmp_path: Path) -> None:
    with_holes = {part: tmp_path / f"{part}.img" for part in built.images}
    for part, image in built.images.items():
        subprocess.run(["cp", "--sparse=always", image, with_holes[part]], check=True)
    assert with_holes[Part.ROOT].stat().st_blocks < built.images[Part.ROOT].stat().st_blocks
    build_release(tmp_path / "out", "2.0.0", with_holes, older=(built.old.directory,))
    assert read_all(tmp_path / "out") == read_all(built.new.directory)


# --- the check before it is published ---------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 100, -1])
@pytest.mark.parametrize("name", ["root.img.zst", "root.chunks", "root.from-1.0.0.delta"])
def test_the_check_finds_a_damaged_byte(built: Built, tmp_path: Path, name: str, at: int) -> None:
    shutil.copytree(built.new.directory, tmp_path / "out")
    check_root(tmp_path / "out", built)
    spoiled = bytearray((tmp_path / "out" / name).read_bytes())
    spoiled[at] ^= 1
    (tmp_path / "out" / name).write_bytes(spoiled)
    with pytest.raises(BadRelease):
        check_root(tmp_path / "out", built)


def test_the_check_compares_the_whole_image_with_its_digest(built: Built) -> None:
    image = read_root(built.new.directory)
    other = image.image.model_copy(update={"sha256": "0" * 64})
    checker = Checker(built.new.directory, image.model_copy(update={"image": other}), threads=2)
    with pytest.raises(DigestMismatch, match="image"):
        checker.check_full(lambda _: None)


def test_the_check_compares_each_frame_with_its_digest(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.new.directory, tmp_path / "out")
    spoiled = bytearray((tmp_path / "out/root.chunks").read_bytes())
    spoiled[-1] ^= 1
    (tmp_path / "out/root.chunks").write_bytes(spoiled)
    image = read_root(tmp_path / "out")
    assert image.chunks
    chunks = image.chunks.model_copy(update={"sha256": hashlib.sha256(spoiled).hexdigest()})
    checker = Checker(tmp_path / "out", image.model_copy(update={"chunks": chunks}), threads=2)
    with pytest.raises(DigestMismatch, match="frame"):
        checker.check_full(lambda _: None)


def test_the_check_compares_each_chunk_that_a_delta_makes(built: Built, tmp_path: Path) -> None:
    spoiled = bytearray(old_root())
    spoiled[5 * BLOCK_SIZE] ^= 1
    (tmp_path / "old.img").write_bytes(spoiled)
    image = read_root(built.new.directory)
    checker = Checker(built.new.directory, image, threads=2)
    with open_image(tmp_path / "old.img") as seed, pytest.raises(DigestMismatch, match="chunk 0"):
        checker.check_delta(image.deltas[0], seed, lambda _: None)


def read_root(folder: Path) -> Image:
    return parse_manifest((folder / MANIFEST_NAME).read_bytes()).image_of(Part.ROOT)


def check_root(folder: Path, built: Built) -> None:
    image = read_root(folder)
    checker = Checker(folder, image, threads=2)
    checker.check_full(lambda _: None)
    old = built.old.directory.parent / "1/root.img"
    with open_image(old) as seed:
        checker.check_delta(image.deltas[0], seed, lambda _: None)


def test_blocks_with_one_digest_and_other_bytes_are_not_taken_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"a" * BLOCK_SIZE + b"b" * BLOCK_SIZE + b"c" * BLOCK_SIZE)
    (tmp_path / "new").write_bytes(b"a" * BLOCK_SIZE + b"x" * BLOCK_SIZE + b"c" * BLOCK_SIZE)
    same = array("Q", [7, 8, 9])
    with open_image(tmp_path / "old") as old, open_image(tmp_path / "new") as new:
        assert list(find_sources(new, same, old, same)) == [0, NEW, 2]


# --- installing -------------------------------------------------------------------------------------


def test_what_was_built_is_installed(built: Built, memory_disk: MemoryDisk) -> None:
    offer = locate_release(str(built.new.directory), built.new.manifest_sha256)
    assert install(memory_disk.ports, LAYOUT, offer).version == "2.0.0"
    for part, image in built.images.items():
        data = image.read_bytes()
        assert memory_disk.slots[Slot(SlotName.B, part)][: len(data)] == data


# --- what is said -----------------------------------------------------------------------------------


def test_the_report_says_what_to_type_and_what_each_host_downloads(built: Built, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_build(out, built.images, "--from", built.old.directory)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert f"SHA-256 {digest_of(out / MANIFEST_NAME)}" in text
    manifest = parse_manifest((out / MANIFEST_NAME).read_bytes())
    whole = sum(image.download.size for image in manifest.images)
    less = sum(image.deltas[0].size for image in manifest.images)
    assert "A host with 1.0.0 downloads" in text
    assert f"({100 * less / whole:.1f} %)" in text
    assert "packed root" in done.stderr


def test_the_json_report_has_every_size(built: Built, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_build(out, built.images, "--from", built.old.directory, "--json")
    report: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    assert done.stderr == ""
    files = read_all(out)
    assert report["size"] == sum(map(len, files.values()))
    assert report["sha256"] == digest_of(out / MANIFEST_NAME)
    [saving] = report["savings"]
    assert saving == {
        "version": "1.0.0",
        "download": sum(len(files[f"{part}.from-1.0.0.delta"]) for part in built.images),
    }


# --- what goes wrong --------------------------------------------------------------------------------


def list_left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_existing_folder_is_never_touched(built: Built, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert_fails(run_build(tmp_path / "out", built.images), 28, "out")
    assert list_left(tmp_path) == {"out"}
    assert not list_left(tmp_path / "out")


@pytest.mark.parametrize("second", ["1.0.0", "2.0.0"])
def test_a_version_may_stand_for_one_release_only(built: Built, tmp_path: Path, second: str) -> None:
    images = write_images(tmp_path / "images", old_root())
    other = pack_release(tmp_path / "other", second, images)
    done = run_build(tmp_path / "out", images, "--from", built.old.directory, "--from", other.directory)
    assert_fails(done, 2, second)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("--layout", "a/b"), ("--layout", LAYOUT), ("--version", "../3")])
def test_a_wrong_word_is_a_wrong_command_line(built: Built, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert_fails(run_build(tmp_path / "out", built.images, *options), 2)
    assert not list_left(tmp_path)


def test_an_image_that_is_too_large_for_its_slot_is_refused(built: Built, tmp_path: Path) -> None:
    large = tmp_path / "large.img"
    with large.open("wb") as file:
        file.write(b"x")
        file.truncate(1 << 40)
    done = run_build(tmp_path / "out", {**built.images, Part.ROOT: large})
    assert_fails(done, 23, "large.img", "root", LAYOUT)
    assert list_left(tmp_path) == {"large.img"}


def test_a_layout_that_nobody_knows_is_said_to_be(built: Built, tmp_path: Path) -> None:
    done = run_build(tmp_path / "out", built.images, "--layout", "mine")
    assert done.returncode == 0
    assert "layout mine is none of" in done.stderr


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [(None, 40, "cannot be opened"), (b"", 31, "0 bytes"), (bytes(MIB), 31, "begins with zeros")],
)
def test_an_image_that_is_none_is_refused(
    built: Built, tmp_path: Path, content: bytes | None, code: int, words: str
) -> None:
    image = tmp_path / "root.img"
    if content is not None:
        image.write_bytes(content)
    done = run_build(tmp_path / "out", {**built.images, Part.ROOT: image})
    assert_fails(done, code, "root.img", words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.unlink(), 40),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), 31),
        (lambda path: path.write_bytes(path.read_bytes() + b"more"), 31),
        (lambda path: path.write_bytes(zstd.compress(bytes(ROOT_SIZE))), 32),
        (lambda path: path.write_bytes(b"no zstd"), 31),
    ],
)
def test_a_damaged_older_release_is_found_out(built: Built, tmp_path: Path, spoil: Any, code: int) -> None:
    images = write_images(tmp_path / "images", old_root())
    older = build_release(tmp_path / "older", "1.0.0", images)
    spoil(older.directory / "root.img.zst")
    done = run_build(tmp_path / "out", built.images, "--from", older.directory)
    assert_fails(done, code, "root.img.zst")
    assert list_left(tmp_path) == {"images", "older"}


def test_a_folder_that_is_no_release_is_said_to_be_none(built: Built, tmp_path: Path) -> None:
    done = run_build(tmp_path / "out", built.images, "--from", tmp_path)
    assert_fails(done, 40, MANIFEST_NAME)


def test_a_full_disk_leaves_nothing(built: Built, tmp_path: Path) -> None:
    command = build_command(tmp_path / "out", built.images, "--quiet")
    limited = ["prlimit", "--fsize=1000000", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert_fails(done, 50, "boot.img.zst")
    assert not list_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Even in the middle of a call that takes long."""
    images = write_images(tmp_path / "images", random.Random(5).randbytes(24 * MIB))
    command = build_command(tmp_path / "out", images, "--level", "22", "--progress", "json")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"root"' in line:
                break
        assert [name for name in list_left(tmp_path) if name.startswith(".out.")]
        process.send_signal(number)
        output, errors = process.communicate()
    assert (process.returncode, output) == (130, ""), errors
    assert "nothing was left" in errors
    assert list_left(tmp_path) == {"images"}


@pytest.mark.slow
def test_an_image_that_changes_meanwhile_is_not_published(built: Built, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", random.Random(5).randbytes(6 * MIB))
    command = build_command(tmp_path / "out", images, "--level", "19", "--progress", "json")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        for line in process.stderr:
            if '"root"' in line:
                break
        with images[Part.ROOT].open("r+b") as file:
            file.write(b"another")
        process.communicate()
    assert process.returncode == 45
    assert list_left(tmp_path) == {"images"}
