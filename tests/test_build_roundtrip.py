"""Whatever the images are: what was built unpacks to them, in full and from the older one."""

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from abctl.build.check import make_pieces
from abctl.build.files import open_image
from abctl.core.chunks import BLOCK_SIZE, CHUNK_SIZE, ChunkIndex, parse_chunk_index
from abctl.core.delta import GROUP_CHUNKS_MAX, NEW_MAX, Delta, Group, parse_delta
from abctl.core.release import Image, Manifest, parse_manifest
from abctl.core.slot import Part
from tests.releases import build_release

Edit = Callable[[bytes], bytes]
BOOT = random.Random(0).randbytes(5000)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Stretches of data, of text and of zeros, of sizes that are seldom whole blocks."""
    parts = [draw(st.integers(1, 5)).to_bytes()]  # an image begins with something
    for kind in draw(st.lists(st.sampled_from(["data", "text", "zeros"]), max_size=6)):
        size = draw(st.one_of(st.integers(1, 3 * BLOCK_SIZE), st.sampled_from([CHUNK_SIZE, CHUNK_SIZE // 2])))
        seed = draw(st.integers(0, 3))
        match kind:
            case "data":
                parts.append(random.Random(seed).randbytes(size))
            case "text":
                parts.append((b"some text %d, over and over " % seed * (size // 20))[:size])
            case _:
                parts.append(bytes(size))
    return b"".join(parts)


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    """What makes a newer image of an older one."""
    where, size = draw(st.floats(0, 1)), draw(st.sampled_from([1, 100, BLOCK_SIZE, 3 * BLOCK_SIZE, 300_000]))
    kind = draw(st.sampled_from(["insert", "remove", "overwrite", "zero", "copy", "cut", "append"]))
    fresh = random.Random(draw(st.integers(10, 13))).randbytes(size)

    def edit(data: bytes) -> bytes:
        at = 1 + int(where * (len(data) - 1))
        changed = {
            "insert": data[:at] + fresh + data[at:],
            "remove": data[:at] + data[at + size :],
            "overwrite": data[:at] + fresh + data[at + size :],
            "zero": data[:at] + bytes(size) + data[at + size :],
            "copy": data[:at] + data[:size] + data[at:],
            "cut": data[:at],
            "append": data + fresh,
        }
        return changed[kind]

    return edit


def edited(data: bytes, changes: list[Edit]) -> bytes:
    for change in changes:
        data = change(data)
    return data


def build_pair(folder: Path, old: bytes, new: bytes) -> tuple[Path, Manifest]:
    """Build two releases of these root images, and return the newer."""
    (folder / "boot.img").write_bytes(BOOT)
    images = {Part.BOOT: folder / "boot.img", Part.ROOT: folder / "root.img"}
    images[Part.ROOT].write_bytes(old)
    older = build_release(folder / "1", "1", images)
    images[Part.ROOT].write_bytes(new)
    (folder / "old.img").write_bytes(old)
    release = build_release(folder / "2", "2", images, older=(older.directory,))
    return release.directory, parse_manifest(release.manifest.read_bytes())


def read_index(folder: Path, image: Image) -> ChunkIndex:
    assert image.chunks is not None
    data = (folder / image.chunks.file).read_bytes()
    return parse_chunk_index(data, image.chunks.file, image.image.size, image.download.size)


def apply_delta(path: Path, index: ChunkIndex, header_size: int, old: Path) -> bytes:
    """Make the image out of the older one."""
    data = path.read_bytes()
    delta = parse_delta(data[:header_size], path.name, index, len(data))
    made = bytearray(index.image_size)
    with open_image(old) as seed:
        for group in delta.groups:
            check_limits(delta, group)
            frame = data[group.frame_start : group.frame_start + group.frame_length]
            start = group.first * delta.chunk_size
            piece = b"".join(make_pieces(delta, group, seed, frame, path.name))
            made[start : start + len(piece)] = piece
    assert len(made) == index.image_size
    return bytes(made)


def check_limits(delta: Delta, group: Group) -> None:
    assert 0 < group.count <= GROUP_CHUNKS_MAX
    assert group.new_length <= NEW_MAX
    assert all(run.count > 0 for run in delta.runs_of(group))


LARGE = random.Random(7).randbytes(CHUNK_SIZE)


@pytest.mark.slow
@given(
    contents(),
    st.one_of(
        st.lists(edits(), max_size=4).map(lambda all_: (None, all_)), contents().map(lambda new: (new, []))
    ),
)
@example(LARGE * 6, (None, []))  # the same image
@example(LARGE, (random.Random(8).randbytes(9 * CHUNK_SIZE), []))  # nothing in common, and several groups
@example(LARGE, (LARGE + bytes(70 * CHUNK_SIZE) + LARGE, []))  # more zeros than a group can have
@example(LARGE + bytes(3 * CHUNK_SIZE + 1), (LARGE + bytes(2 * CHUNK_SIZE + 5), []))  # zeros at the end
@example(b"\1", (b"\2", []))
@settings(max_examples=40)
def test_a_release_unpacks_to_its_images_in_full_and_by_its_delta(
    old: bytes, newer: tuple[bytes | None, list[Edit]]
) -> None:
    new = edited(old, newer[1]) if newer[0] is None else newer[0]
    new = new if any(new[:CHUNK_SIZE]) else b"\1" + new
    folder = Path(tempfile.mkdtemp(prefix="abctl-build-"))
    try:
        release, manifest = build_pair(folder, old, new)
        image = manifest.image_of(Part.ROOT)
        index = read_index(release, image)
        for delta in image.deltas:
            made = apply_delta(release / delta.file, index, delta.header.size, folder / "old.img")
            assert made == new
        if new == old and len(new) > CHUNK_SIZE:
            assert image.deltas
    finally:
        shutil.rmtree(folder)
