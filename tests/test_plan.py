"""What an installation would write, or why it is refused."""

from dataclasses import replace
from typing import Literal

import pytest

from abctl.core.bootenv import BootEnv, SlotSet, SlotState, Trial
from abctl.core.machine import Host, Running
from abctl.core.plan import ImagePlan, make_archive_plan, make_plan, with_archive_contents, with_ways
from abctl.core.record import Record, Refusal
from abctl.core.release import Compression, Content, Image, Manifest
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import GIB, MIB, Bytes, Digest, Seconds, Version
from abctl.core.ways import WayCost, WayKind
from abctl.errors import (
    DoesNotFit,
    IncompatibleLayout,
    NotConfirmed,
    RunningMismatch,
    VersionRefused,
    WrongSlotSet,
)

SHA256 = Digest("ab" * 32)
SIZES = {slot: Bytes(GIB if slot.part is Part.BOOT else 10 * GIB) for slot in ALL_SLOTS}
HOST = Host(
    BootEnv(
        SlotName.A,
        slot_sets={
            SlotName.A: SlotSet(SlotState.GOOD, Version("1.0.0")),
            SlotName.B: SlotSet(SlotState.BAD, Version("1.5.0")),
        },
    ),
    Running.all_of(SlotName.A),
)


def image(part: Literal[Part.BOOT, Part.ROOT], size: int = GIB) -> Image:
    return Image(
        part=part,
        file=f"{part}.img.zst",
        compression=Compression.ZSTD,
        download=Content(size=100 * MIB, sha256=SHA256),
        image=Content(size=size, sha256=SHA256),
    )


def manifest(*images: Image, version: str = "2.0.0") -> Manifest:
    return Manifest(
        format=1,
        version=Version(version),
        layouts=("hostos", "hostos-small"),
        images=images or (image(Part.BOOT), image(Part.ROOT)),
    )


def test_a_plan_names_what_is_fetched_written_and_lost() -> None:
    plan = make_plan(HOST, "hostos", SIZES, manifest(), SHA256)
    assert (plan.target, plan.version, plan.sha256) == (SlotName.B, "2.0.0", SHA256)
    assert [item.slot for item in plan.images] == [Slot(SlotName.B, Part.BOOT), Slot(SlotName.B, Part.ROOT)]
    assert plan.download_size == 200 * MIB
    assert plan.overwritten == "1.5.0"
    assert plan.notes == ()


def test_the_other_slot_set_is_the_target_in_both_directions() -> None:
    other = Host(replace(HOST.env, primary=SlotName.B), Running.all_of(SlotName.B))
    assert make_plan(other, "hostos", SIZES, manifest(), SHA256).target is SlotName.A


def test_a_disk_of_which_nothing_runs_can_be_installed_to() -> None:
    assert make_plan(Host(HOST.env), "hostos", SIZES, manifest(), SHA256).target is SlotName.B


def test_the_same_version_again_is_worth_a_note() -> None:
    plan = make_plan(HOST, "hostos", SIZES, manifest(version="1.0.0"), SHA256)
    assert plan.notes == ("slot set A already holds 1.0.0",)


def test_an_image_may_fill_its_slot_but_not_more() -> None:
    fits = manifest(image(Part.BOOT, GIB), image(Part.ROOT, 10 * GIB))
    assert make_plan(HOST, "hostos", SIZES, fits, SHA256).images[1].size == SIZES[Slot(SlotName.B, Part.ROOT)]
    too_large = manifest(image(Part.BOOT, GIB + 1), image(Part.ROOT, GIB))
    with pytest.raises(DoesNotFit, match=r"boot\.img\.zst holds .*B_boot .*\(1 bytes too many\)"):
        make_plan(HOST, "hostos", SIZES, too_large, SHA256)


def test_the_real_size_of_the_target_counts_and_not_that_of_its_twin() -> None:
    sizes = {**SIZES, Slot(SlotName.B, Part.ROOT): Bytes(MIB)}
    with pytest.raises(DoesNotFit, match="B_root"):
        make_plan(HOST, "hostos", sizes, manifest(), SHA256)


def test_a_release_for_other_layouts_is_refused() -> None:
    with pytest.raises(IncompatibleLayout, match="hostos or hostos-small, this disk has guestos"):
        make_plan(HOST, "guestos", SIZES, manifest(), SHA256)


def test_a_plan_is_refused_for_whatever_refuses_an_installation() -> None:
    refusals = (Refusal(Seconds(1), Version("2.0.0"), SHA256, "fell back"),)
    cases = {
        NotConfirmed: replace(HOST, env=replace(HOST.env, trial=Trial(SlotName.B, 2))),
        WrongSlotSet: replace(HOST, running=Running.all_of(SlotName.B)),
        VersionRefused: replace(HOST, record=Record(refusals=refusals)),
        RunningMismatch: replace(HOST, running=Running(SlotName.A, SlotName.B, SlotName.A)),
    }
    for error, host in cases.items():
        with pytest.raises(error):
            make_plan(host, "hostos", SIZES, manifest(), SHA256)
        with pytest.raises(error):
            make_archive_plan(host, SIZES, "update-img.tar.zst", SHA256, None)


def test_a_release_is_refused_by_its_version_and_by_its_digest_alone() -> None:
    other = Digest("cd" * 32)
    refused = replace(HOST, record=Record(refusals=(Refusal(Seconds(1), Version("2.0.0"), SHA256, "bad"),)))
    with pytest.raises(VersionRefused):
        make_plan(refused, "hostos", SIZES, manifest(version="2.0.0"), other)
    with pytest.raises(VersionRefused):
        make_plan(refused, "hostos", SIZES, manifest(version="3.0.0"), SHA256)
    assert make_plan(refused, "hostos", SIZES, manifest(version="3.0.0"), other).version == "3.0.0"


def test_a_plan_has_of_each_image_what_the_manifest_and_the_disk_say() -> None:
    release = manifest(image(Part.BOOT, GIB // 2), image(Part.ROOT, 2 * GIB))
    plan = make_plan(HOST, "hostos", SIZES, release, SHA256)
    assert plan.sha256 == SHA256
    for found, planned in zip(release.images, plan.images, strict=True):
        slot = Slot(SlotName.B, found.part)
        sizes = Bytes(found.download.size), Bytes(found.image.size), SIZES[slot]
        assert planned == ImagePlan(slot, found.file, found.compression, *sizes)
    assert plan.download_size == sum(found.download.size for found in release.images)


def test_the_plan_of_an_archive_is_filled_in_when_it_was_read() -> None:
    plan = make_archive_plan(HOST, SIZES, "update-img.tar.zst", SHA256, Bytes(MIB))
    assert (plan.version, plan.image_of(Part.ROOT).size, plan.download_size) == (None, None, MIB)
    assert plan.sha256 == SHA256
    assert {image.file for image in plan.images} == {"update-img.tar.zst"}
    assert [image.slot_size for image in plan.images] == [SIZES[image.slot] for image in plan.images]
    sizes = {Part.BOOT: Bytes(1), Part.ROOT: Bytes(2)}
    known = with_archive_contents(plan, Version("2.0.0"), sizes)
    assert (known.version, known.image_of(Part.ROOT).size) == ("2.0.0", 2)


def test_a_version_that_stands_in_the_target_already_is_worth_a_note_with_its_state() -> None:
    host = replace(
        HOST, env=HOST.env.with_slot_set(SlotName.B, SlotSet(SlotState.UNTESTED, Version("2.0.0")))
    )
    plan = make_plan(host, "hostos", SIZES, manifest(), SHA256)
    assert plan.notes == ("slot set B already holds 2.0.0 (untested)",)


def test_the_way_that_is_taken_says_what_an_image_downloads() -> None:
    plan = make_plan(HOST, "hostos", SIZES, manifest(), SHA256)
    full, delta = WayCost(WayKind.FULL, Bytes(700)), WayCost(WayKind.DELTA, Bytes(30), Version("1.0.0"))
    with_delta = with_ways(plan, {Part.ROOT: ((full, delta), delta)})
    root, boot = with_delta.image_of(Part.ROOT), with_delta.image_of(Part.BOOT)
    assert (root.ways, root.chosen, root.download_size) == ((full, delta), delta, 30)
    assert boot == plan.image_of(Part.BOOT)
    assert with_delta.download_size == 30 + (boot.download_size or 0)
    # Of a stream nobody knows before how much it brings.
    unknown = WayCost(WayKind.STREAM, None)
    streams = with_ways(plan, dict.fromkeys((Part.BOOT, Part.ROOT), ((unknown,), unknown)))
    assert streams.download_size == 0
