"""What an installation would write, or why it is refused: decided before the first byte is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from abctl.core.events import Host
from abctl.core.machine import check_install
from abctl.core.release import INSTALLED_PARTS, Compression, Manifest
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Bytes, Digest, Version, format_size
from abctl.core.ways import WayCost
from abctl.errors import DoesNotFit, IncompatibleLayout

SlotSizes = Mapping[Slot, Bytes]


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image and the slot it goes to; sizes in bytes, None where only the reading tells."""

    slot: Slot
    file: str
    compression: Compression | None
    download_size: Bytes | None
    size: Bytes | None
    slot_size: Bytes
    ways: tuple[WayCost, ...] = ()
    chosen: WayCost | None = None


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """What an installation would fetch and write.

    ``download_size`` is in bytes and, like ``version``, None where only the reading tells.
    """

    target: SlotName
    version: Version | None
    sha256: Digest
    images: tuple[ImagePlan, ...]
    download_size: Bytes | None
    overwritten: Version | None = None
    notes: tuple[str, ...] = ()

    def image_of(self, part: Part) -> ImagePlan:
        return next(image for image in self.images if image.slot.part is part)


def make_plan(
    host: Host, layout: str, slot_sizes: SlotSizes, manifest: Manifest, sha256: Digest
) -> InstallPlan:
    """Return what installing the release of ``manifest`` on ``host`` would do.

    Raise a Refused error where the host, the layout or a slot does not take it.
    """
    target = check_install(host, manifest.version, sha256)
    return _with_notes(plan_release(target, layout, slot_sizes, manifest, sha256), host)


def make_archive_plan(
    host: Host, slot_sizes: SlotSizes, file: str, sha256: Digest, download_size: Bytes | None
) -> InstallPlan:
    """Return what is known of an installation before its archive is read; raise a Refused error."""
    target = check_install(host, None, sha256)
    return _with_notes(plan_archive(target, slot_sizes, file, sha256, download_size), host)


def plan_release(
    target: SlotName, layout: str, slot_sizes: SlotSizes, manifest: Manifest, sha256: Digest
) -> InstallPlan:
    """Return what writing the release of ``manifest`` to ``target`` would do; raise a Refused error."""
    if layout not in manifest.layouts:
        raise IncompatibleLayout(
            f"release {manifest.version} is for layout {' or '.join(manifest.layouts)}, this disk has "
            f"{layout}: take a release that is made for it"
        )
    images = []
    for image in manifest.images:
        slot = Slot(target, image.part)
        check_fits(image.file, Bytes(image.image.size), slot, slot_sizes[slot])
        images.append(
            ImagePlan(
                slot=slot,
                file=image.file,
                compression=image.compression,
                download_size=Bytes(image.download.size),
                size=Bytes(image.image.size),
                slot_size=slot_sizes[slot],
            )
        )
    return InstallPlan(
        target=target,
        version=manifest.version,
        sha256=sha256,
        images=tuple(images),
        download_size=Bytes(sum(image.download.size for image in manifest.images)),
    )


def plan_archive(
    target: SlotName, slot_sizes: SlotSizes, file: str, sha256: Digest, download_size: Bytes | None
) -> InstallPlan:
    """Return what is known of writing an archive to ``target`` before it is read."""
    slots = [Slot(target, part) for part in INSTALLED_PARTS]
    images = tuple(ImagePlan(slot, file, None, None, None, slot_sizes[slot]) for slot in slots)
    return InstallPlan(target, None, sha256, images, download_size)


def with_archive_contents(plan: InstallPlan, version: Version, sizes: Mapping[Part, Bytes]) -> InstallPlan:
    """Return the plan of an archive after it was read."""
    images = tuple(replace(image, size=sizes[image.slot.part]) for image in plan.images)
    return replace(plan, version=version, images=images)


def with_ways(plan: InstallPlan, ways: Mapping[Part, tuple[tuple[WayCost, ...], WayCost]]) -> InstallPlan:
    """Return the plan with what each way of an image would download, and the one that is taken."""
    images = tuple(
        replace(image, ways=ways[part][0], chosen=ways[part][1], download_size=ways[part][1].download)
        if (part := image.slot.part) in ways
        else image
        for image in plan.images
    )
    return replace(
        plan, images=images, download_size=Bytes(sum(image.download_size or 0 for image in images))
    )


def check_fits(file: str, size: Bytes, slot: Slot, slot_size: Bytes) -> None:
    """Raise DoesNotFit where an image of ``size`` bytes is larger than its slot."""
    if size > slot_size:
        raise DoesNotFit(
            f"{file} holds {format_size(size)}, slot {slot} has {format_size(slot_size)} "
            f"({size - slot_size} bytes too many): take a release that is made for this layout"
        )


def _with_notes(plan: InstallPlan, host: Host) -> InstallPlan:
    """Add what an admin may want to know, though it stops nothing."""
    before = host.env[plan.target]
    notes = []
    if plan.version and host.env[host.env.primary].version == plan.version:
        notes.append(f"slot set {host.env.primary} already holds {plan.version}")
    if plan.version and before.version == plan.version:
        notes.append(f"slot set {plan.target} already holds {plan.version} ({before.state})")
    return replace(plan, overwritten=before.version, notes=tuple(notes))
