"""Build a release directory: whole, checked, and under its name only then."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from abctl.build.check import Checker
from abctl.build.delta import Pair, make_delta
from abctl.build.files import ImageFile, flush_folder, open_image, saying_what_failed, write_file
from abctl.build.match import find_sources
from abctl.build.older import OlderImage, OlderRelease, unpack_older
from abctl.build.pack import OnDone, PackedImage, pack_image
from abctl.build.parallel import Effort
from abctl.core.chunks import CHUNK_SIZE
from abctl.core.release import INSTALLED_PARTS, MANIFEST_NAME, DeltaFile, Image, Manifest, parse_manifest
from abctl.core.slot import Part
from abctl.core.units import Bytes, Digest, Version, format_size
from abctl.errors import BadArchive, DoesNotFit, WouldOverwrite

_EXECUTABLE_ALL = 0o755


class Stage(StrEnum):
    """What a build does with an image."""

    PACK = "pack"
    UNPACK = "unpack"  # the same image of an older release
    DELTA = "delta"
    CHECK = "check"  # unpack what was made


# Stage, part, and bytes of the image: done and in all.
OnStage = Callable[[Stage, Part, int, int], None]
Rooms = Mapping[str, Mapping[Part, Bytes]]  # for each known layout the size of the smaller slot


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built."""

    version: Version
    layouts: tuple[str, ...]
    images: Mapping[Part, Path]
    older: tuple[OlderRelease, ...]
    effort: Effort


@dataclass(frozen=True, slots=True)
class Useless:
    """A delta that is not smaller than the packed image and is not published; sizes in bytes."""

    part: Part
    version: Version
    size: Bytes


@dataclass(frozen=True, slots=True)
class Built:
    """A release that was built."""

    manifest: Manifest
    sha256: Digest
    useless: tuple[Useless, ...]

    def download_from(self, version: Version) -> Bytes:
        """Return what a host with this older version downloads, in bytes; the manifest is left out."""
        return Bytes(sum(_download_from(image, version) for image in self.manifest.images))

    @property
    def download(self) -> Bytes:
        """What a host downloads in full, in bytes."""
        return Bytes(sum(image.download.size for image in self.manifest.images))


def _download_from(image: Image, version: Version) -> int:
    delta = image.delta_from(version)
    return delta.size if delta else image.download.size


def build_release(folder: Path, order: Order, rooms: Rooms, on_stage: OnStage) -> Built:
    """Make the release directory ``folder``, or nothing at all.

    Raise WouldOverwrite, DoesNotFit, SourceProblem, BadRelease, WriteFailed.
    """
    with ExitStack() as stack:
        images = {part: stack.enter_context(open_image(order.images[part])) for part in INSTALLED_PARTS}
        for part, image in images.items():
            _check_image(part, image, order, rooms)
        with _new_folder(folder) as unfinished:
            built = _Build(unfinished, order, images, on_stage).run()
            for image in images.values():
                image.check_unchanged()
        return built


def _check_image(part: Part, image: ImageFile, order: Order, rooms: Rooms) -> None:
    for layout in order.layouts:
        room = rooms.get(layout, {}).get(part)
        if room is not None and image.size > room:
            raise DoesNotFit(
                f"{image.path} has {format_size(image.size)}, and the {part} slots of layout {layout} have "
                f"{format_size(room)}: make the file system smaller"
            )
    if not any(image.read(0, min(image.size, CHUNK_SIZE))):
        raise BadArchive(f"{image.path} begins with zeros: there is no file system in it")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that gets its name when all is well, and is gone otherwise."""
    if os.path.lexists(folder):
        raise WouldOverwrite(f"{folder} is in the way: name a folder that does not exist yet")
    with saying_what_failed(folder):
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield unfinished
        with saying_what_failed(folder):
            unfinished.chmod(_EXECUTABLE_ALL & ~_umask())
            flush_folder(unfinished)
            if os.path.lexists(folder):
                raise WouldOverwrite(f"{folder} came into being meanwhile: name another folder")
            unfinished.rename(folder)
            flush_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Build:
    """One build, in a folder that is not published yet."""

    def __init__(
        self, folder: Path, order: Order, images: Mapping[Part, ImageFile], on_stage: OnStage
    ) -> None:
        self._folder = folder
        self._order = order
        self._images = images
        self._on_stage = on_stage
        self._useless: list[Useless] = []

    def run(self) -> Built:
        entries = tuple(self._build_image(part) for part in INSTALLED_PARTS)
        manifest = Manifest(
            format=1, version=self._order.version, layouts=self._order.layouts, images=entries
        )
        data = encode_manifest(manifest)
        parse_manifest(data)
        with write_file(self._folder / MANIFEST_NAME) as file:
            file.write(data)
        return Built(manifest, Digest(hashlib.sha256(data).hexdigest()), tuple(self._useless))

    def _build_image(self, part: Part) -> Image:
        """Write all files of one image, check them, and return its entry in the manifest."""
        image, effort = self._images[part], self._order.effort
        packed = pack_image(self._folder, part, image, effort, self._follow(Stage.PACK, part))
        checker = Checker(self._folder, packed.entry, effort.threads)
        checker.check_full(self._follow(Stage.CHECK, part))
        deltas = [self._build_delta(part, packed, checker, at) for at in range(len(self._order.older))]
        return packed.entry.model_copy(update={"deltas": tuple(filter(None, deltas))})

    def _build_delta(self, part: Part, packed: PackedImage, checker: Checker, at: int) -> DeltaFile | None:
        """Write the delta from one older release, and check it; None where it is of no use."""
        older, effort = self._order.older[at], self._order.effort
        version, image = older.manifest.version, older.manifest.image_of(part)
        on_unpacked = self._follow(Stage.UNPACK, part, at, image.image.size)
        with unpack_older(older, image, self._folder, effort.threads, on_unpacked) as seed:
            path = self._folder / f"{part}.from-{version}.delta"
            pair = self._pair(part, packed, seed)
            delta = make_delta(path, version, pair, effort, self._follow(Stage.DELTA, part, at))
            if delta.size >= packed.entry.download.size:
                path.unlink()
                self._useless.append(Useless(part, version, Bytes(delta.size)))
                return None
            checker.check_delta(delta, seed.file, self._follow(Stage.CHECK, part, at + 1))
        return delta

    def _pair(self, part: Part, packed: PackedImage, seed: OlderImage) -> Pair:
        image = self._images[part]
        return Pair(
            image, packed.index, seed.file, find_sources(image, packed.blocks, seed.file, seed.blocks)
        )

    def _follow(self, stage: Stage, part: Part, at: int = 0, size: int | None = None) -> OnDone:
        """Return what is called with the bytes done of the ``at``-th image of this size in this stage."""
        before = at * self._images[part].size
        total = before + (self._images[part].size if size is None else size)
        return lambda done: self._on_stage(stage, part, before + done, total)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as it is published: what is not there is left out."""
    plain = manifest.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(plain, indent=2).encode() + b"\n"
