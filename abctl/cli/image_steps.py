"""The steps of ``abctl build image``, each by whom it is done."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from abctl.build.abctl_tree import DATA, check_python, make_abctl_tree, make_host_files
from abctl.build.bytecode import add_compiled, encode_jobs, plan_compiling
from abctl.build.ext4_script import make_script
from abctl.build.parallel import Effort
from abctl.build.release import Order, build_release
from abctl.build.rootfs import Parts, split_tree
from abctl.build.tree import Tree, merge, read_tree, write_tree
from abctl.cli.disk import make_disk
from abctl.cli.release_build import forward, measure_rooms
from abctl.cli.wiring import locate
from abctl.core.layout import Layout
from abctl.core.recipe import Recipe
from abctl.core.release import INSTALLED_PARTS
from abctl.core.slot import Part
from abctl.core.units import Bytes, Digest, Version, format_size
from abctl.errors import BadRecipe, DoesNotFit, WouldOverwrite, WriteFailed
from abctl.host.bootstrap import make_tree
from abctl.host.compile import compile_files
from abctl.host.create import check_free
from abctl.host.data import find_data
from abctl.host.esp import make_esp_files
from abctl.host.format import fixed_time
from abctl.host.image import Filling, make_ext4_image
from abctl.update.progress import OnProgress, Remark

VERSION_TXT = "VERSION.TXT"


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """What is to be made; ``source`` is the recipe's file, or without a recipe the tree."""

    recipe: Recipe | None
    source: Path
    version: Version
    layouts: tuple[Layout, ...]
    boot_size: Bytes | None
    root_size: Bytes | None
    arguments: str
    abctl: bool
    level: int
    disk: Path | None
    disk_size: Bytes | None


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: the kernel's version, digests of the images, and that of the manifest."""

    kernel: str
    digests: Mapping[Part, Digest]
    sha256: Digest


def build_images(output: Path, order: ImageOrder, on_progress: OnProgress) -> Made:
    """Make the folder ``output`` with all that belongs to it, or nothing at all."""
    _check_early(order)
    esp = make_esp_files(order.layouts[0]) if order.disk else {}
    with _new_folder(output) as (made, scratch):
        tree = _get_tree(order, scratch, on_progress)
        parts = _compose(tree, order, scratch, on_progress)
        digests = _make_images(made, parts, order, scratch, on_progress)
        (made / VERSION_TXT).write_text(f"{order.version}\n")
        sha256 = _build_release(made, order, on_progress)
        if order.disk:
            on_progress(Remark(f"making the disk {order.disk}"))
            offer = locate(str(made / "release"), sha256)
            make_disk(order.disk, order.layouts[0], order.disk_size, offer, on_progress, esp=esp)
    return Made(parts.kernel, digests, sha256)


def _check_early(order: ImageOrder) -> None:
    """Refuse now what would be refused after minutes of work."""
    if order.disk:
        check_free(order.disk)
    wanted = {Part.BOOT: order.boot_size, Part.ROOT: order.root_size}
    for name, rooms in measure_rooms(order.layouts).items():
        for part, size in wanted.items():
            if size and size > rooms[part]:
                raise DoesNotFit(
                    f"{part}.img is to have {format_size(size)}, and the {part} slots of layout {name} have "
                    f"{format_size(rooms[part])}: choose a smaller size"
                )


@contextmanager
def _new_folder(output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder that gets its name when all is well, and one that is thrown away."""
    if os.path.lexists(output):
        raise WouldOverwrite(f"{output} is in the way: name a folder that does not exist yet")
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise WriteFailed(f"nothing can be made in {output.parent}: {error.strerror}") from error
    try:
        work.chmod(0o755)  # apt reads in it as its own user
        made, scratch = work / "made", work / "scratch"
        made.mkdir()
        scratch.mkdir()
        yield made, scratch
        made.rename(output)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _get_tree(order: ImageOrder, scratch: Path, on_progress: OnProgress) -> Tree:
    if order.recipe is None:
        return read_tree(order.source)
    overlays = []
    if order.abctl:
        overlays.append(write_tree(scratch / "files", make_host_files()))
    if order.recipe.overlay:
        overlay = order.source.parent / order.recipe.overlay
        if not overlay.is_dir():
            raise BadRecipe(f"{order.source}: overlay: there is no folder {overlay}")
        overlays.append(write_tree(scratch / "overlay", read_tree(overlay, normal=True)))
    on_progress(Remark(f"making a tree of {order.recipe.suite} with mmdebstrap; this takes some minutes"))
    make_tree(scratch / "tree", order.recipe, overlays)
    return read_tree(scratch / "tree")


def _compose(tree: Tree, order: ImageOrder, scratch: Path, on_progress: OnProgress) -> Parts:
    if order.abctl:
        check_python(tree)
        tree = merge(tree, make_abctl_tree({name: find_data(name) for name in DATA}, scratch))
    compiled = scratch / "compiled"
    compiled.mkdir()
    tree, jobs = plan_compiling(tree, compiled)
    if jobs:
        on_progress(Remark(f"compiling {len(jobs)} files of Python"))
        compile_files(encode_jobs(jobs))
    return split_tree(add_compiled(tree, jobs), order.version, order.arguments, scratch)


def _make_images(
    made: Path, parts: Parts, order: ImageOrder, scratch: Path, on_progress: OnProgress
) -> dict[Part, Digest]:
    digests = {}
    for part, tree, size in (
        (Part.BOOT, parts.boot, order.boot_size),
        (Part.ROOT, parts.root, order.root_size),
    ):
        image = made / f"{part}.img"
        on_progress(Remark(f"filling {part}.img with {len(tree)} files"))
        values = scratch / f"{part}-values"
        values.mkdir()
        script = make_script(tree, values, fixed_time())
        filling = Filling(script.commands, script.size, script.inodes)
        # The same in every release: a file system's own blocks then stay the same too, and deltas small.
        uuid = str(uuid5(NAMESPACE_URL, f"abctl:image:{part}"))
        make_ext4_image(image, part, uuid, filling, size)
        digests[part] = _digest_of(image)
    return digests


def _digest_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def _build_release(made: Path, order: ImageOrder, on_progress: OnProgress) -> Digest:
    names = tuple(layout.name for layout in order.layouts)
    images = {part: made / f"{part}.img" for part in INSTALLED_PARTS}
    effort = Effort(order.level, order.level, len(os.sched_getaffinity(0)))
    release = Order(order.version, names, images, (), effort)
    built = build_release(made / "release", release, measure_rooms(order.layouts), forward(on_progress))
    return built.sha256
