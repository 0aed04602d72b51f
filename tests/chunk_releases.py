"""Releases in chunks, hosts that hold an older one, and a far place that counts what is fetched from it."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from abctl.core.bootenv import BootEnv, SlotSet, SlotState
from abctl.core.chunks import ChunkIndex, parse_chunk_index
from abctl.core.delta import Delta, parse_delta
from abctl.core.release import MANIFEST_NAME, Image, ReleaseKind, parse_manifest
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import KIB, MIB, Digest, Version
from abctl.core.ways import WayKind, join_places
from abctl.errors import TransferCut
from abctl.ports import Offer, Reader
from abctl.update.install import Installed, install
from abctl.update.progress import OnProgress, Progress, Remark
from abctl.update.write import Wishes
from tests.fake_volumes import BOOT_IMAGE_SIZE, LAYOUT, MemoryDisk
from tests.refusals import with_manifest
from tests.releases import Images, Release, build_release

WHATEVER, IN_FULL = Wishes(), Wishes(in_full=True)
A_ROOT, B_ROOT = Slot(SlotName.A, Part.ROOT), Slot(SlotName.B, Part.ROOT)
B_BOOT = Slot(SlotName.B, Part.BOOT)
BLOCK = 4 * KIB
PARTS = (Part.BOOT, Part.ROOT)
_END = 13 * KIB + 7  # neither whole blocks nor whole chunks

Edit = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Pair:
    """1.0.0, 2.0.0 with a delta from it, the same without, and the images of both."""

    old: Release
    new: Release
    bare: Release
    old_images: Images
    new_images: Images

    def host(self) -> MemoryDisk:
        """Return a disk whose slot set A runs 1.0.0."""
        size = self.new_images[Part.ROOT].stat().st_size
        disk = MemoryDisk(root_size=-(-size // MIB) * MIB + MIB)
        for part, image in self.old_images.items():
            data = image.read_bytes()
            disk.slots[Slot(SlotName.A, part)][: len(data)] = data
        return disk


def build_pair(folder: Path, old_root: bytes, edit: Edit) -> Pair:
    """Build 1.0.0 with ``old_root``, and 2.0.0 with what ``edit`` makes of it."""
    old_boot = random.Random(3).randbytes(BOOT_IMAGE_SIZE)
    new_boot = old_boot[:MIB] + b"a newer kernel" + old_boot[MIB + 14 :]
    old_images = _write(folder / "1", old_boot, old_root)
    new_images = _write(folder / "2", new_boot, edit(old_root))
    old = build_release(folder / "old", "1.0.0", old_images)
    new = build_release(folder / "new", "2.0.0", new_images, older=(old.directory,))
    return Pair(old, new, _without_deltas(new, folder / "bare"), old_images, new_images)


def _without_deltas(release: Release, folder: Path) -> Release:
    folder.mkdir()
    for file in release.directory.iterdir():
        if file.suffix != ".delta":
            (folder / file.name).write_bytes(file.read_bytes())

    def change(manifest: dict[str, Any]) -> None:
        for image in manifest["images"]:
            image.pop("deltas", None)

    return with_manifest(Release(folder, release.version, release.manifest_sha256), change)


def _write(folder: Path, boot: bytes, root: bytes) -> Images:
    folder.mkdir(parents=True)
    (folder / "boot.img").write_bytes(boot)
    (folder / "root.img").write_bytes(root)
    return {part: folder / f"{part}.img" for part in (Part.BOOT, Part.ROOT)}


def make_old_root(mib: int) -> bytes:
    """Noise with three MiB of zeros in the middle of it."""
    noise = random.Random(mib)
    half = (mib - 3) // 2
    return noise.randbytes(half * MIB) + bytes(3 * MIB) + noise.randbytes((mib - 3 - half) * MIB + _END)


def edit_root(old: bytes) -> bytes:
    """Move all by three blocks, change a few bytes here and there, and put new data into the second MiB."""
    noise = random.Random(len(old))
    new = bytearray(noise.randbytes(3 * BLOCK) + old[: -3 * BLOCK])
    new[MIB : 2 * MIB] = noise.randbytes(MIB)
    for place in range(3 * MIB + 5000, len(new), 4 * MIB):
        new[place : place + 5] = b"edits"
    return bytes(new)


# --- what is in a release ---------------------------------------------------------------------------


def image_of(release: Release, part: Part = Part.ROOT) -> Image:
    return parse_manifest(release.manifest.read_bytes()).image_of(part)


def index_of(release: Release, part: Part = Part.ROOT) -> ChunkIndex:
    image = image_of(release, part)
    assert image.chunks
    data = (release.directory / image.chunks.file).read_bytes()
    return parse_chunk_index(data, image.chunks.file, image.image.size, image.download.size)


def delta_of(release: Release, part: Part = Part.ROOT) -> Delta:
    file = image_of(release, part).deltas[0]
    header = (release.directory / file.file).read_bytes()[: file.header.size]
    return parse_delta(header, file.file, index_of(release, part), file.size)


def chunks_in(index: ChunkIndex, slot: bytes | bytearray, image: bytes) -> list[bool]:
    """Return for each chunk whether ``slot`` holds that of ``image``."""
    starts = range(0, index.image_size, index.chunk_size)
    return [
        slot[at : at + index.size_of(n)] == image[at : at + index.size_of(n)] for n, at in enumerate(starts)
    ]


def sum_indexes(release: Release, kind: WayKind) -> int:
    """Return the bytes of what is fetched to make a plan for this way."""
    count = 0
    for part in PARTS:
        image = image_of(release, part)
        assert image.chunks
        assert image.blocks
        count += image.chunks.size
        count += image.deltas[0].header.size if kind is WayKind.DELTA else 0
        count += image.blocks.size if kind is WayKind.BLOCKS else 0
    return count


def count_left(slots: Mapping[Slot, bytes | bytearray], release: Release, images: Images) -> int:
    """Return what has to be downloaded to have in full what slot set B lacks."""
    count = 0
    for part in PARTS:
        index, slot = index_of(release, part), slots[Slot(SlotName.B, part)]
        there = chunks_in(index, slot, images[part].read_bytes())
        # The first is made invalid before anything else.
        missing = [n for n in range(index.count) if not n or not (there[n] or index.is_zero(n))]
        places = [index.frame_of(chunk) for chunk in missing]
        count += sum(length for _, length in join_places(places))
    return count


# --- a far place ------------------------------------------------------------------------------------


@dataclass
class FarPlace:
    """Files behind a network without a network; ``on_read`` is called before each piece that comes."""

    files: dict[str, bytes]
    on_read: Callable[[], object] = lambda: None
    is_local: bool = False
    fetched: int = 0
    has_ranges: bool = True
    place: str = "far.example"
    opened: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator[Reader]:
        data = memoryview(self.files[name])[start:][:length]
        if length is not None and len(data) < length:
            raise TransferCut(f"{self.place} has too little of {name}")
        self.opened.append(name)
        yield _FarReader(self, data)

    def flip(self, name: str, place: int) -> None:
        """Flip a bit of a file."""
        data = bytearray(self.files[name])
        data[place] ^= 0x10
        self.files[name] = bytes(data)


class _FarReader:
    def __init__(self, far: FarPlace, data: memoryview) -> None:
        self._far = far
        self._data = data
        self.length = len(data)

    def readinto(self, buffer: memoryview) -> int:
        self._far.on_read()
        piece = self._data[: min(len(buffer), 256 * KIB)]
        buffer[: len(piece)] = piece
        self._data = self._data[len(piece) :]
        self._far.fetched += len(piece)
        return len(piece)


@cache
def _read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def far_from(release: Release) -> FarPlace:
    return FarPlace(dict(_read_all(release.directory)))


def offer_at(far: FarPlace, sha256: Digest) -> Offer:
    return Offer(far, MANIFEST_NAME, ReleaseKind.DIRECTORY, sha256)


# --- installing -------------------------------------------------------------------------------------


@dataclass
class Ears:
    """Hears what an installation says, and may do something about it."""

    on_progress: Callable[[Progress], object] = lambda _: None
    remarks: list[str] = field(default_factory=list)

    def __call__(self, said: Progress | Remark) -> None:
        if isinstance(said, Remark):
            self.remarks.append(said.text)
        else:
            self.on_progress(said)


def upgrade(
    disk: MemoryDisk, offer: Offer, wishes: Wishes = WHATEVER, ears: OnProgress | None = None
) -> Installed:
    return install(disk.ports, LAYOUT, offer, ears or Ears(), wishes)


def set_version(disk: MemoryDisk, name: SlotName, version: str | None) -> None:
    """Have the boot environment say that a slot set holds this version and is good, with nothing on trial."""
    env = BootEnv(SlotName.A, slot_sets=dict(disk.env.slot_sets), generation=disk.env.generation + 1)
    found = SlotSet(SlotState.GOOD, None if version is None else Version(version))
    disk.set_env(env.with_slot_set(name, found))
