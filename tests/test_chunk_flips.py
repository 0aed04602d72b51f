"""A bit that flips in any input, and a write that lies: caught before arming, and the block is named."""

import hashlib
import json
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.release import MANIFEST_NAME
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import KIB, MIB, Bytes, Digest
from abctl.errors import (
    AbctlError,
    BadIndex,
    BadRelease,
    DigestMismatch,
    DownloadTooLarge,
    ReadBackMismatch,
)
from abctl.host.source import locate_release
from abctl.update.install import plan_only
from abctl.update.write import Wishes
from tests.chunk_releases import (
    IN_FULL,
    PARTS,
    WHATEVER,
    Ears,
    FarPlace,
    Pair,
    build_pair,
    edit_root,
    far_from,
    image_of,
    index_of,
    make_old_root,
    offer_at,
    upgrade,
)
from tests.fake_volumes import LAYOUT, MemoryDisk
from tests.refusals import EMPTIED
from tests.releases import Release
from tests.test_install import assert_on_trial

pytestmark = pytest.mark.slow

INDEX, BLOCKS, DELTA, IMAGE = "root.chunks", "root.blocks.zst", "root.from-1.0.0.delta", "root.img.zst"

where = st.floats(0, 1, exclude_max=True)
at_some_places = settings(max_examples=6)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build_pair(tmp_path_factory.mktemp("pair"), make_old_root(7), edit_root)


def flipped(release: Release, name: str, place: int) -> FarPlace:
    far = far_from(release)
    far.flip(name, place)
    return far


def assert_caught(
    disk: MemoryDisk, far: FarPlace, release: Release, wishes: Wishes, error: type[AbctlError]
) -> str:
    """It fails before anything is on trial, and what runs is untouched; return the message."""
    before = disk.take_snapshot()
    with pytest.raises(error) as raised:
        upgrade(disk, offer_at(far, release.manifest_sha256), wishes)
    assert type(raised.value) is error
    disk.assert_still_safe(before)
    if EMPTIED in str(raised.value):
        disk.assert_given_up(before)
    else:
        disk.assert_untouched(before)
    return str(raised.value)


# --- files ------------------------------------------------------------------------------------------


def header_size(pair: Pair) -> int:
    return image_of(pair.new).deltas[0].header.size


HEADERS: dict[str, Callable[[Pair], tuple[Release, int]]] = {
    MANIFEST_NAME: lambda pair: (pair.new, pair.new.manifest.stat().st_size),
    INDEX: lambda pair: (pair.new, (pair.new.directory / INDEX).stat().st_size),
    BLOCKS: lambda pair: (pair.bare, (pair.bare.directory / BLOCKS).stat().st_size),
    DELTA: lambda pair: (pair.new, header_size(pair)),
}


@pytest.mark.parametrize("name", HEADERS)
@at_some_places
@given(at=where)
def test_a_bit_in_an_index_or_a_header_is_refused_before_anything_is_written(
    pair: Pair, name: str, at: float
) -> None:
    release, size = HEADERS[name](pair)
    said = assert_caught(
        pair.host(), flipped(release, name, int(at * size)), release, WHATEVER, DigestMismatch
    )
    assert said.startswith(f"{name} from far.example has SHA-256")
    assert EMPTIED not in said


@at_some_places
@given(at=where)
def test_a_bit_in_a_frame_of_an_image_is_caught_and_the_chunk_named(pair: Pair, at: float) -> None:
    index = index_of(pair.new)
    place = int(at * index.packed_size)
    [chunk] = [n for n in range(index.count) if place in range_of(index.frame_of(n))]
    far, disk = flipped(pair.new, IMAGE, place), pair.host()
    if index.is_zero(chunk):
        upgrade(disk, offer_at(far, pair.new.manifest_sha256), IN_FULL)
        assert_on_trial(disk, dict(pair.new_images), "2.0.0")
        return
    said = assert_caught(disk, far, pair.new, IN_FULL, DigestMismatch)
    start, length = index.frame_of(chunk)
    assert f"chunk {chunk} of {IMAGE} from far.example (bytes {start} to {start + length}) has" in said
    # What was right stays, and it goes on from there.
    upgrade(disk, offer_at(far_from(pair.new), pair.new.manifest_sha256), IN_FULL)
    assert_on_trial(disk, dict(pair.new_images), "2.0.0")


def range_of(place: tuple[int, int]) -> range:
    return range(place[0], place[0] + place[1])


@at_some_places
@given(at=where)
def test_a_bit_in_a_frame_of_a_delta_costs_the_chunks_that_it_makes_and_they_are_named(
    pair: Pair, at: float
) -> None:
    header, size = header_size(pair), image_of(pair.new).deltas[0].size
    far, ears = flipped(pair.new, DELTA, header + int(at * (size - header))), Ears()
    disk, offer = pair.host(), offer_at(far, pair.new.manifest_sha256)
    planned = plan_only(disk.ports, LAYOUT, offer).download_size or 0
    done = upgrade(disk, offer, ears=ears)
    assert_on_trial(disk, dict(pair.new_images), "2.0.0")
    assert done.downloaded > planned + MIB / 2
    assert_names_chunks(ears, DELTA)

    disk = pair.host()
    said = assert_caught(disk, far, pair.new, Wishes(Bytes(planned)), DownloadTooLarge)
    assert DELTA in said
    assert "chunk " in said


def assert_names_chunks(ears: Ears, file: str) -> None:
    [said] = [said for said in ears.remarks if "more to fetch" in said]
    assert f"_root and {file} do not make " in said
    assert "chunk " in said
    assert "(bytes " in said


def test_a_bit_in_a_local_image_costs_nothing(pair: Pair) -> None:
    path = pair.new.directory / IMAGE
    sound = path.read_bytes()
    start, length = index_of(pair.new).frame_of(4)
    try:
        path.write_bytes(sound[: start + 50] + bytes([sound[start + 50] ^ 1]) + sound[start + 51 :])
        disk = pair.host()
        before = disk.take_snapshot()
        with pytest.raises(DigestMismatch, match=rf"chunk 4 of .*bytes {start} to {start + length}"):
            upgrade(disk, locate_release(str(pair.new.directory), pair.new.manifest_sha256))
        disk.assert_untouched(before)
    finally:
        path.write_bytes(sound)


# --- seeds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["delta", "blocks"])
@at_some_places
@given(at=where, part=st.sampled_from(PARTS))
def test_a_bit_in_a_seed_is_mended_by_fetching(pair: Pair, form: str, at: float, part: Part) -> None:
    release = pair.new if form == "delta" else pair.bare
    disk, ears = pair.host(), Ears()
    size = pair.old_images[part].stat().st_size
    disk.slots[Slot(SlotName.A, part)][int(at * size)] ^= 0x10
    far = far_from(release)
    planned = plan_only(disk.ports, LAYOUT, offer_at(far, release.manifest_sha256)).download_size or 0

    done = upgrade(disk, offer_at(far, release.manifest_sha256), ears=ears)

    assert_on_trial(disk, dict(pair.new_images), "2.0.0")
    remarks = [said for said in ears.remarks if "more to fetch" in said]
    assert bool(remarks) == (done.downloaded > planned + 64 * KIB)
    assert all(f"A_{part} and " in said and "(bytes " in said for said in remarks)


# --- the disk ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["full", "delta", "blocks"])
@at_some_places
@given(at=where, part=st.sampled_from(PARTS))
def test_a_write_that_lies_is_caught_and_the_chunk_named(
    pair: Pair, form: str, at: float, part: Part
) -> None:
    release = pair.bare if form == "blocks" else pair.new
    disk, slot = pair.host(), Slot(SlotName.B, part)
    place = int(at * pair.new_images[part].stat().st_size)
    disk.flipped = (slot, place)
    said = assert_lie_caught(disk, release, IN_FULL if form == "full" else WHATEVER)
    chunk = place // MIB
    if part is Part.BOOT and not chunk:  # the head, which comes last
        assert f"B_boot does not hold what was written to it (bytes 0 to {MIB})" in said
    else:
        size = index_of(release, part).size_of(chunk)
        where_ = f"in chunk {chunk} (bytes {chunk * MIB} to {chunk * MIB + size})"
        assert f"{slot} does not hold what was written to it {where_}" in said


def assert_lie_caught(disk: MemoryDisk, release: Release, wishes: Wishes) -> str:
    before = disk.take_snapshot()
    with pytest.raises(ReadBackMismatch) as raised:
        upgrade(disk, offer_at(far_from(release), release.manifest_sha256), wishes)
    disk.assert_still_safe(before)
    assert EMPTIED in str(raised.value)
    return str(raised.value)


def test_a_lie_in_var_is_caught_too(pair: Pair) -> None:
    disk = pair.host()
    disk.flipped = (Slot(SlotName.B, Part.VAR), 4000)
    assert "B_var does not hold what was written to it (bytes 0 to " in assert_lie_caught(
        disk, pair.new, WHATEVER
    )


# --- releases that were put together wrongly --------------------------------------------------------


def resigned(release: Release, name: str, change: Callable[[bytearray], None]) -> tuple[FarPlace, Digest]:
    """Return the release with a changed file whose digests all are right, as a bad builder makes it."""
    far = far_from(release)
    data = bytearray(far.files[name])
    change(data)
    manifest = json.loads(far.files[MANIFEST_NAME])
    [entry] = [entry for entry in manifest["images"] if entry["part"] == "root"]
    if name == INDEX:
        entry["chunks"]["sha256"] = sha256(data)
    else:
        delta = entry["deltas"][0]
        delta["sha256"], delta["header"]["sha256"] = sha256(data), sha256(data[: delta["header"]["size"]])
    far.files[name], far.files[MANIFEST_NAME] = bytes(data), json.dumps(manifest).encode()
    return far, sha256(far.files[MANIFEST_NAME])


def sha256(data: bytes | bytearray) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


@pytest.mark.slow
@settings(max_examples=30)
@given(
    name=st.sampled_from([INDEX, DELTA]),
    word=where,
    value=st.sampled_from([0, 1, 4096, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]) | st.integers(0, 2**32 - 1),
)
def test_whatever_a_header_says_nothing_wrong_is_armed(
    pair: Pair, name: str, word: float, value: int
) -> None:
    size = header_size(pair) if name == DELTA else len(far_from(pair.new).files[INDEX])

    def change(data: bytearray) -> None:
        struct.pack_into("<I", data, int(word * size // 4) * 4, value)

    far, digest = resigned(pair.new, name, change)
    disk, error = pair.host(), None
    before = disk.take_snapshot()
    try:
        upgrade(disk, offer_at(far, digest))
    except (BadRelease, ReadBackMismatch) as raised:
        error = raised
    if error is None:
        assert_on_trial(disk, dict(pair.new_images), "2.0.0")
    elif isinstance(error, BadIndex):
        assert str(error).startswith(name)
        disk.assert_untouched(before)
    else:
        assert "chunk " in str(error)
        disk.assert_still_safe(before)
