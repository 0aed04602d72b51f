"""A release in chunks on its way to a slot set: each way, what it costs, and what happens on a bad one."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import abctl.build.delta
import abctl.update.seed
from abctl.build.delta import pack_new
from abctl.core.delta import ZERO
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import KIB, MIB, Bytes
from abctl.core.ways import WayKind
from abctl.errors import (
    DownloadTooLarge,
    Interrupted,
    ServerFailed,
    TransferCut,
    TransferTooLong,
    WriteFailed,
)
from abctl.host.fetching import Fetching
from abctl.host.source import locate_release
from abctl.ports import Offer
from abctl.update.install import plan_only
from abctl.update.pool import count_workers
from abctl.update.progress import Progress, Step
from abctl.update.stream import make_buffer
from abctl.update.write import Wishes
from abctl.update.zstd import Unpacker
from tests.chunk_releases import (
    A_ROOT,
    B_BOOT,
    B_ROOT,
    BLOCK,
    IN_FULL,
    PARTS,
    WHATEVER,
    Ears,
    Pair,
    build_pair,
    count_left,
    delta_of,
    edit_root,
    far_from,
    image_of,
    index_of,
    make_old_root,
    offer_at,
    set_version,
    sum_indexes,
    upgrade,
)
from tests.fake_volumes import LAYOUT, MemoryDisk
from tests.hostile_server import Behaviour, HostileServer
from tests.refusals import EMPTIED, offer_from, with_manifest
from tests.releases import Archive, Images, Release, build_release
from tests.test_install import assert_on_trial

pytestmark = pytest.mark.slow

PATIENT = Fetching(stall_timeout=20, tries=3, first_pause=0.01)
STEPS = (Step.SURVEY, Step.FETCH, Step.WRITE, Step.READ_BACK)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build_pair(tmp_path_factory.mktemp("pair"), make_old_root(13), edit_root)


def serve(server: HostileServer, release: Release) -> Offer:
    return locate_release(server.offer_folder("/v2", release.directory), release.manifest_sha256, PATIENT)


def assert_there(disk: MemoryDisk, images: Images, version: str = "2.0.0") -> None:
    """Slot set B holds exactly these images, is on trial, and A is what it was."""
    assert_on_trial(disk, dict(images), version)


# --- each way ---------------------------------------------------------------------------------------

WAYS: dict[WayKind, tuple[Callable[[Pair], Release], Wishes]] = {
    WayKind.FULL: (lambda pair: pair.new, IN_FULL),
    WayKind.DELTA: (lambda pair: pair.new, WHATEVER),
    WayKind.BLOCKS: (lambda pair: pair.bare, WHATEVER),
}


@pytest.mark.parametrize("kind", WAYS)
def test_each_way_brings_exactly_the_images_for_the_bytes_of_the_plan(
    pair: Pair, server: HostileServer, kind: WayKind
) -> None:
    disk, (choose, wishes) = pair.host(), WAYS[kind]
    release = choose(pair)
    before, offer = disk.take_snapshot(), serve(server, release)
    plan = plan_only(disk.ports, LAYOUT, offer, wishes=wishes)
    disk.assert_untouched(before)
    assert {image.chosen.kind for image in plan.images if image.chosen} == {kind}
    server.sent = 0

    done = upgrade(disk, offer, wishes)

    assert_there(disk, pair.new_images)
    assert plan.download_size is not None
    assert done.downloaded == plan.download_size + sum_indexes(release, kind)
    # And the manifest, and a byte of each image to see that it is there.
    assert server.sent == done.downloaded + release.manifest.stat().st_size + len(PARTS)
    for slot, data in before.slots.items():
        end = pair.new_images[slot.part].stat().st_size if slot.part in PARTS else 0
        if slot.slot_set is SlotName.A:
            assert disk.slots[slot] == data, f"{slot} was changed"
        elif end:
            assert disk.slots[slot][end:] == data[end:], f"{slot} was written behind the image"


def test_a_delta_costs_less_than_blocks_and_these_less_than_all(pair: Pair) -> None:
    costs = []
    for choose, wishes in WAYS.values():
        release = choose(pair)
        offer = offer_at(far_from(release), release.manifest_sha256)
        costs.append(plan_only(pair.host().ports, LAYOUT, offer, wishes=wishes).download_size or 0)
    full, delta, blocks = costs
    assert full == sum(image_of(pair.new, part).download.size for part in PARTS)
    assert 0 < delta < blocks / 2 < full / 3


def test_what_stands_in_the_slots_already_is_not_fetched_again(pair: Pair) -> None:
    """But for the first MiB of each image, which is made invalid before anything else."""
    disk, far = pair.host(), far_from(pair.new)
    offer = offer_at(far, pair.new.manifest_sha256)
    upgrade(disk, offer)
    set_version(disk, SlotName.B, "2.0.0")

    done = upgrade(disk, offer, IN_FULL)

    assert_there(disk, pair.new_images)
    heads = sum(index_of(pair.new, part).frame_of(0)[1] for part in PARTS)
    assert done.downloaded == heads + sum_indexes(pair.new, WayKind.FULL)


def test_a_chunk_that_was_damaged_meanwhile_is_written_again(pair: Pair) -> None:
    disk, far = pair.host(), far_from(pair.new)
    offer = offer_at(far, pair.new.manifest_sha256)
    upgrade(disk, offer)
    set_version(disk, SlotName.B, "2.0.0")
    disk.slots[B_ROOT][5 * MIB + 1000] ^= 1
    upgrade(disk, offer, IN_FULL)
    assert_there(disk, pair.new_images)


def test_a_few_samples_find_an_image_that_the_boot_environment_does_not_speak_of(pair: Pair) -> None:
    disk, far = pair.host(), far_from(pair.new)
    upgrade(disk, offer_at(far, pair.new.manifest_sha256))
    set_version(disk, SlotName.B, "0.9.0")
    plan = plan_only(disk.ports, LAYOUT, offer_at(far, pair.new.manifest_sha256), wishes=IN_FULL)
    assert plan.download_size == sum(index_of(pair.new, part).frame_of(0)[1] for part in PARTS)


def test_what_cannot_be_read_is_fetched_and_written(pair: Pair) -> None:
    """A disk takes a new write for a sector that it cannot read, and often mends it so."""
    disk, far = pair.host(), far_from(pair.new)
    offer = offer_at(far, pair.new.manifest_sha256)
    upgrade(disk, offer)
    set_version(disk, SlotName.B, "2.0.0")
    disk.unreadable = (B_ROOT, 4 * MIB)
    upgrade(disk, offer, IN_FULL)
    assert_there(disk, pair.new_images)


def test_no_delta_leaves_all_seeds_alone(pair: Pair) -> None:
    disk, far = pair.host(), far_from(pair.new)
    plan = plan_only(disk.ports, LAYOUT, offer_at(far, pair.new.manifest_sha256), wishes=IN_FULL)
    assert [way.kind for image in plan.images for way in image.ways] == [WayKind.FULL, WayKind.FULL]
    assert not [name for name in far.opened if "delta" in name or "blocks" in name]


# --- a delta that does not apply --------------------------------------------------------------------


def forget_version(disk: MemoryDisk) -> None:
    set_version(disk, SlotName.A, None)


def have_another_version(disk: MemoryDisk) -> None:
    set_version(disk, SlotName.A, "1.5.0")


def shrink_seeds(disk: MemoryDisk) -> None:
    for part in PARTS:
        del disk.slots[Slot(SlotName.A, part)][-2 * MIB :]


NOT_SO: dict[str, tuple[Callable[[MemoryDisk], None], str]] = {
    "unknown": (forget_version, "it is not known what slot set A holds"),
    "other": (have_another_version, "the release has none from 1.5.0, which is in slot set A"),
    "smaller": (shrink_seeds, "slot A_root is smaller than its seed"),
}


@pytest.mark.parametrize("case", NOT_SO)
def test_a_delta_that_does_not_apply_says_why_and_blocks_take_over(pair: Pair, case: str) -> None:
    spoil, why = NOT_SO[case]
    disk, far, ears = pair.host(), far_from(pair.new), Ears()
    spoil(disk)
    offer = offer_at(far, pair.new.manifest_sha256)

    root = plan_only(disk.ports, LAYOUT, offer).image_of(Part.ROOT)
    upgrade(disk, offer, ears=ears)

    assert [(way.kind, way.why_not) for way in root.ways] == [
        (WayKind.FULL, ""),
        (WayKind.DELTA, why),
        (WayKind.BLOCKS, ""),
    ]
    assert root.chosen
    assert root.chosen.kind is WayKind.BLOCKS
    assert [said for said in ears.remarks if f"no delta applies to root.img.zst: {why}; " in said]
    assert_there(disk, pair.new_images)


def test_a_release_without_an_index_of_blocks_is_fetched_in_full(pair: Pair, tmp_path: Path) -> None:
    """As one of another builder."""
    release = without_blocks(pair.bare, tmp_path)
    disk, offer = pair.host(), offer_at(far_from(release), release.manifest_sha256)
    root = plan_only(disk.ports, LAYOUT, offer).image_of(Part.ROOT)
    assert [way.why_not for way in root.ways][2:] == ["the release has no block index"]
    upgrade(disk, offer)
    assert_there(disk, pair.new_images)


def without_blocks(release: Release, folder: Path) -> Release:
    def change(manifest: dict[str, Any]) -> None:
        for entry in manifest["images"]:
            del entry["blocks"]

    copy = Release(folder / "copy", release.version, release.manifest_sha256)
    shutil.copytree(release.directory, copy.directory)
    return with_manifest(copy, change)


# --- a seed that is not what it should be -----------------------------------------------------------


def find_plain_copy(release: Release) -> tuple[int, int]:
    """Return a chunk that is a plain copy, and a byte of it in the seed, which is in no prefix."""
    delta = delta_of(release)
    prefixes = [range(group.prefix_start, group.prefix_start + group.prefix_length) for group in delta.groups]
    for group in delta.groups:
        at = group.first * delta.chunk_size
        for run in delta.runs_of(group):
            start, length = run.source * BLOCK, run.count * BLOCK
            chunk = -(-at // MIB)
            place = start + chunk * MIB - at + 5000
            is_whole = run.source < ZERO and (chunk + 1) * MIB <= at + length
            if is_whole and not any(place in prefix for prefix in prefixes):
                return chunk, place
            at += length
    raise AssertionError("there is no such chunk")


def test_where_the_seed_differs_the_chunk_is_fetched_in_full_and_a_remark_says_so(pair: Pair) -> None:
    disk, far, ears = pair.host(), far_from(pair.new), Ears()
    chunk, place = find_plain_copy(pair.new)
    disk.slots[A_ROOT][place] ^= 1
    offer = offer_at(far, pair.new.manifest_sha256)
    planned = plan_only(disk.ports, LAYOUT, offer).download_size or 0

    done = upgrade(disk, offer, ears=ears)

    assert_there(disk, pair.new_images)
    start, frame = chunk * MIB, index_of(pair.new).frame_of(chunk)[1]
    assert done.downloaded == planned + frame + sum_indexes(pair.new, WayKind.DELTA)
    assert ears.remarks == [
        f"A_root and root.from-1.0.0.delta do not make chunk {chunk} (bytes {start} to {start + MIB}) of "
        "root.img.zst: 1.0 MiB more to fetch"
    ]


def test_blocks_that_are_not_what_their_short_digest_says_cost_a_fetch(pair: Pair) -> None:
    """The block changes after it was looked at."""
    disk, far = pair.host(), far_from(pair.bare)
    chunk, place = find_plain_copy(pair.new)

    def change(said: Progress) -> None:
        if said.step is Step.WRITE and said.part is Part.BOOT:
            disk.slots[A_ROOT][place] = 0

    ears = Ears(change)
    upgrade(disk, offer_at(far, pair.bare.manifest_sha256), ears=ears)
    assert_there(disk, pair.new_images)
    assert f"A_root and root.blocks.zst do not make chunk {chunk} " in ears.remarks[-1]


def test_a_seed_that_cannot_be_read_costs_a_fetch(pair: Pair) -> None:
    for release in (pair.new, pair.bare):
        disk, ears = pair.host(), Ears()
        disk.unreadable = (A_ROOT, find_plain_copy(pair.new)[1])
        upgrade(disk, offer_at(far_from(release), release.manifest_sha256), ears=ears)
        assert_there(disk, pair.new_images)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Chunks that are each in a group of its own: new bytes, then some of the seed, then zeros."""

    def make_root(number: int) -> bytes:
        fresh, old = random.Random(number), random.Random(1)
        size = 32 * KIB
        return b"".join(
            fresh.randbytes(size) + old.randbytes(size) + bytes(MIB - 2 * size) for _ in range(48)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abctl.build.delta, "_NEW_AIM", 32 * KIB)
        return build_pair(tmp_path_factory.mktemp("wide"), make_root(1), lambda _: make_root(2))


def test_of_a_delta_whose_seed_is_another_one_most_is_not_even_fetched(
    wide: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # how far it gets goes with the processors
    disk, far, ears = wide.host(), far_from(wide.new), Ears()
    groups = delta_of(wide.new).groups
    assert len(groups) == 48
    disk.slots[A_ROOT][:] = bytes(len(disk.slots[A_ROOT]))

    done = upgrade(disk, offer_at(far, wide.new.manifest_sha256), ears=ears)

    assert_there(disk, wide.new_images)
    in_full = image_of(wide.new).download.size
    boot = sum(group.frame_length for group in delta_of(wide.new, Part.BOOT).groups)
    of_delta = done.downloaded - in_full - boot - sum_indexes(wide.new, WayKind.DELTA)
    looked_at = 16 + 3 * count_workers()
    assert 0 < of_delta <= sum(group.frame_length for group in groups[:looked_at])
    assert looked_at < len(groups) / 2
    assert "48 of the 48 chunks" in ears.remarks[-1]


def test_a_full_disk_is_not_taken_for_a_bad_seed(pair: Pair) -> None:
    disk, far, ears = pair.host(), far_from(pair.new), Ears()
    disk.space = 8 * MIB
    with pytest.raises(WriteFailed, match="B_root cannot be written: no space is left"):
        upgrade(disk, offer_at(far, pair.new.manifest_sha256), ears=ears)
    assert ears.remarks == []
    assert "root.img.zst" not in far.opened[-1:]


# --- the cap ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
def test_more_than_is_allowed_is_refused_before_anything_is_written(pair: Pair, kind: WayKind) -> None:
    choose, wishes = WAYS[kind]
    release, disk = choose(pair), pair.host()
    offer = offer_at(far_from(release), release.manifest_sha256)
    planned = plan_only(disk.ports, LAYOUT, offer, wishes=wishes).download_size or 0
    before = disk.take_snapshot()
    with pytest.raises(DownloadTooLarge, match=r"root\.img\.zst takes .* would be downloaded in all"):
        upgrade(disk, offer, Wishes(Bytes(planned - 1), wishes.in_full))
    disk.assert_untouched(before)
    upgrade(disk, offer, Wishes(Bytes(planned), wishes.in_full))
    assert_there(disk, pair.new_images)


def test_falling_back_to_more_than_is_allowed_stops_and_arms_nothing(pair: Pair) -> None:
    disk, far = pair.host(), far_from(pair.new)
    offer = offer_at(far, pair.new.manifest_sha256)
    planned = plan_only(disk.ports, LAYOUT, offer).download_size or 0
    chunk, place = find_plain_copy(pair.new)
    disk.slots[A_ROOT][place] ^= 1
    before = disk.take_snapshot()

    with pytest.raises(DownloadTooLarge) as raised:
        upgrade(disk, offer, Wishes(Bytes(planned + 1000)))

    for word in ("A_root", "root.from-1.0.0.delta", f"chunk {chunk} ", "1.0 MiB more", EMPTIED):
        assert word in str(raised.value)
    disk.assert_given_up(before)
    # What is right stays, so that it now takes a chunk and the heads.
    upgrade(disk, offer, Wishes(Bytes(3 * MIB + MIB // 2), in_full=True))
    assert_there(disk, pair.new_images)


def test_nothing_is_a_bound_too(
    memory_disk: MemoryDisk, pair: Pair, archive: Archive, server: HostileServer
) -> None:
    nothing, before = Wishes(Bytes(0)), memory_disk.take_snapshot()
    with pytest.raises(DownloadTooLarge):
        upgrade(pair.host(), offer_at(far_from(pair.new), pair.new.manifest_sha256), nothing)
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes())
    with pytest.raises(TransferTooLong):
        upgrade(memory_disk, offer_from(url, archive), nothing)
    memory_disk.assert_untouched(before)


# --- servers ----------------------------------------------------------------------------------------

ANSWERS: dict[str, dict[str, Any]] = {
    "cuts": {"behaviour": Behaviour.CUT_EVERY, "every": 700 * KIB},
    "busy": {"behaviour": Behaviour.BUSY_FIRST, "times": 2},
    "no ranges": {"behaviour": Behaviour.NO_RANGES},
    "cuts once, no ranges": {"behaviour": Behaviour.CUT_FIRST},
    "chunked": {"behaviour": Behaviour.CHUNKED},
    "no length": {"behaviour": Behaviour.NO_LENGTH},
    "slow, no ranges": {"behaviour": Behaviour.SLOW},
    "slow": {"behaviour": Behaviour.TRICKLE, "every": 2 * MIB},
}


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *((WayKind.FULL, how) for how in ANSWERS),
        *((kind, how) for kind in (WayKind.DELTA, WayKind.BLOCKS) for how in ("cuts", "no ranges")),
    ],
)
def test_however_a_server_sends_the_slots_hold_the_images(
    pair: Pair, server: HostileServer, kind: WayKind, how: str
) -> None:
    disk, (choose, wishes) = pair.host(), WAYS[kind]
    release = choose(pair)
    offer = serve(server, release)
    for path in list(server.answers):
        if "root" in path:
            server.offer(path, server.answers[path].body, **ANSWERS[how])
    upgrade(disk, offer, wishes)
    assert_there(disk, pair.new_images)


def test_what_a_server_without_ranges_sends_for_nothing_counts(pair: Pair, server: HostileServer) -> None:
    """The chunks that the blocks do not make are spread over the image: all of it comes."""
    disk, offer = pair.host(), serve(server, pair.bare)
    server.spoil("/v2/root.img.zst", Behaviour.NO_RANGES)
    root = plan_only(disk.ports, LAYOUT, offer).image_of(Part.ROOT)
    assert root.download_size == image_of(pair.bare).download.size
    assert root.chosen
    assert root.chosen.kind is WayKind.FULL
    with pytest.raises(DownloadTooLarge):
        upgrade(disk, offer, Wishes(Bytes(8 * MIB)))
    assert upgrade(disk, offer).downloaded > image_of(pair.bare).download.size
    assert_there(disk, pair.new_images)


@pytest.mark.parametrize("behaviour", [Behaviour.OTHER_RANGE, Behaviour.SHORT_RANGE, Behaviour.BARE_RANGE])
@pytest.mark.parametrize(("file", "wishes"), [("root.img.zst", IN_FULL), ("root.from-1.0.0.delta", WHATEVER)])
def test_a_server_that_answers_with_other_ranges_is_not_believed(
    pair: Pair, server: HostileServer, file: str, wishes: Wishes, behaviour: Behaviour
) -> None:
    disk, offer = pair.host(), serve(server, pair.new)
    server.spoil(f"/v2/{file}", behaviour)
    before = disk.take_snapshot()
    with pytest.raises(ServerFailed, match=f"another part of {file}"):
        upgrade(disk, offer, wishes)
    disk.assert_still_safe(before)


def test_a_server_that_gives_up_within_an_image_leaves_what_it_sent(
    pair: Pair, server: HostileServer
) -> None:
    disk, offer = pair.host(), serve(server, pair.new)
    body = server.answers["/v2/root.img.zst"].body
    server.offer("/v2/root.img.zst", body[: 9 * MIB])
    with pytest.raises(TransferCut, match=r"root\.img\.zst"):
        upgrade(disk, offer, IN_FULL)
    server.offer("/v2/root.img.zst", body)
    whole = plan_only(pair.host().ports, LAYOUT, offer, wishes=IN_FULL).download_size or 0
    server.sent = 0
    upgrade(disk, offer, IN_FULL)
    assert_there(disk, pair.new_images)
    assert server.sent < whole


# --- going on after a cut ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("at", [0.2, 0.6, 0.95])
def test_after_ctrl_c_only_what_was_in_flight_is_fetched_again(pair: Pair, kind: WayKind, at: float) -> None:
    choose, wishes = WAYS[kind]
    release, disk = choose(pair), pair.host()
    far = far_from(release)
    offer = offer_at(far, release.manifest_sha256)
    whole = plan_only(disk.ports, LAYOUT, offer, wishes=wishes).download_size or 0

    with pytest.raises(Interrupted, match=EMPTIED):
        upgrade(disk, offer, wishes, Ears(press_when(at)))
    before, first = disk.take_snapshot(), far.fetched
    left = count_left(disk.slots, release, pair.new_images)
    done = upgrade(disk, offer, wishes)

    assert_there(disk, pair.new_images)
    if kind is WayKind.FULL:
        assert done.downloaded == left + sum_indexes(release, kind)
        # In flight, and the head of Root; beside it what is fetched for each plan.
        frames = 3 * count_workers() + 2
        assert first + done.downloaded <= whole + frames * (MIB + KIB) + 3 * (
            sum_indexes(release, kind) + release.manifest.stat().st_size
        )
    assert disk.take_snapshot().slots[A_ROOT] == before.slots[A_ROOT]


def press_when(part_done: float) -> Callable[[Progress], None]:
    def press(said: Progress) -> None:
        if said.part is Part.ROOT and said.step is Step.WRITE and said.done >= part_done * said.total:
            raise KeyboardInterrupt

    return press


@pytest.mark.parametrize("version", ["2.0.0", "3.0.0"])
def test_a_release_that_changed_meanwhile_starts_over(pair: Pair, tmp_path: Path, version: str) -> None:
    """Also one that goes by the same version."""
    root = tmp_path / "root.img"
    root.write_bytes(random.Random(7).randbytes(9 * MIB))
    images = {Part.BOOT: pair.new_images[Part.BOOT], Part.ROOT: root}
    other = build_release(tmp_path / "other", version, images)
    disk = pair.host()
    with pytest.raises(Interrupted):
        upgrade(disk, offer_at(far_from(pair.new), pair.new.manifest_sha256), IN_FULL, Ears(press_when(0.7)))
    done = upgrade(disk, offer_at(far_from(other), other.manifest_sha256), IN_FULL)
    assert_there(disk, images, version)
    assert done.downloaded > image_of(other).download.size


def test_ctrl_c_during_the_survey_costs_nothing(pair: Pair) -> None:
    disk = pair.host()
    set_version(disk, SlotName.B, "2.0.0")
    before = disk.take_snapshot()

    def press(said: Progress) -> None:
        if said.step is Step.SURVEY and said.part is Part.ROOT and said.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade(disk, offer_at(far_from(pair.new), pair.new.manifest_sha256), ears=Ears(press))
    disk.assert_untouched(before)


def test_the_head_of_boot_is_written_after_all_else_was_read_back(pair: Pair) -> None:
    for choose, wishes in WAYS.values():
        release, disk = choose(pair), pair.host()
        heads: list[bool] = []

        def look(said: Progress, disk: MemoryDisk = disk, heads: list[bool] = heads) -> None:
            if said.step is not Step.SURVEY:
                heads.append(any(disk.slots[B_BOOT][:BLOCK]))

        upgrade(disk, offer_at(far_from(release), release.manifest_sha256), wishes, Ears(look))
        assert heads
        assert not any(heads)


@pytest.mark.parametrize("kind", WAYS)
def test_each_step_is_told_to_its_end(pair: Pair, kind: WayKind) -> None:
    choose, wishes = WAYS[kind]
    release, disk = choose(pair), pair.host()
    said: dict[tuple[Step, Part], list[Progress]] = {}
    ears = Ears(lambda it: said.setdefault((it.step, it.part), []).append(it))
    upgrade(disk, offer_at(far_from(release), release.manifest_sha256), wishes, ears)
    assert set(said) == {(step, part) for part in PARTS for step in STEPS}
    for (step, part), all_said in said.items():
        done = [it.done for it in all_said]
        assert done == sorted(done)
        assert done[-1] == all_said[-1].total
        if step in (Step.WRITE, Step.READ_BACK):
            assert done[-1] == pair.new_images[part].stat().st_size


# --- blocks of the slot that is written -------------------------------------------------------------


def test_blocks_in_the_slot_itself_are_used_while_they_are_ahead(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a rollback to a version that nobody knows any more."""
    monkeypatch.setattr(abctl.update.seed, "_AHEAD", 8 * MIB // BLOCK)
    disk, far = pair.host(), far_from(pair.bare)
    disk.slots[A_ROOT][:] = bytes(len(disk.slots[A_ROOT]))
    new = pair.new_images[Part.ROOT].read_bytes()
    far_ahead = 9 * MIB
    end = len(disk.slots[B_ROOT])
    disk.slots[B_ROOT][far_ahead:end] = new[: end - far_ahead]
    offer = offer_at(far, pair.bare.manifest_sha256)
    root = plan_only(disk.ports, LAYOUT, offer).image_of(Part.ROOT)
    assert root.chosen
    assert root.chosen.kind is WayKind.BLOCKS
    assert (root.download_size or 0) < image_of(pair.bare).download.size - 3 * MIB
    upgrade(disk, offer)
    assert_there(disk, pair.new_images)


def test_a_block_in_the_slot_itself_that_is_overwritten_first_is_not_counted_on(pair: Pair) -> None:
    disk, far, ears = pair.host(), far_from(pair.bare), Ears()
    disk.slots[A_ROOT][:] = bytes(len(disk.slots[A_ROOT]))
    new = pair.new_images[Part.ROOT].read_bytes()
    disk.slots[B_ROOT][: len(new) - 3 * MIB] = new[3 * MIB :]
    upgrade(disk, offer_at(far, pair.bare.manifest_sha256), ears=ears)
    assert_there(disk, pair.new_images)
    assert not [said for said in ears.remarks if "more to fetch" in said]


# --- zstd -------------------------------------------------------------------------------------------


def test_a_prefix_that_was_not_used_up_does_not_get_into_the_next_frame() -> None:
    unpacker, out = Unpacker(), make_buffer(64 * KIB)
    old = random.Random(1).randbytes(64 * KIB)
    alone, against = bytearray(pack_new(old, b"", 1)), bytearray(pack_new(old, old, 1))
    assert len(against) < len(alone) / 2
    prefix = memoryview(bytearray(old))

    unpacker.unpack(against, out, prefix)
    assert out == old
    with pytest.raises(ValueError, match=r"\w"):
        unpacker.unpack(bytearray(b"no frame"), out, prefix)
    with pytest.raises(ValueError, match=r"\w"):
        unpacker.unpack(against, out)
    unpacker.unpack(alone, out)
    assert out == old


FRAMES = {
    "nothing": b"",
    "garbage": b"\0",
    "too little": pack_new(b"-", b"", 1),
    "too much": pack_new(bytes(9000), b"", 1),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_does_not_fill_the_buffer_is_no_frame(name: str) -> None:
    buffer = memoryview(bytearray(4096))
    with pytest.raises(ValueError, match=r"\w"):
        Unpacker().unpack(bytearray(FRAMES[name]), buffer)
