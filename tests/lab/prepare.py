"""Build once what all scenarios start from: images, a disk, releases and a signed repository."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from abctl.build.roles import DAY, Role
from abctl.core.slot import Part
from tests.lab.fat import set_menu_time
from tests.lab.places import ABCTL, CACHE, LAB, LAYOUT, REPOSITORY
from tests.lab.variants import FIRST, GOOD, SIGNED, Variant
from tests.releases import digest_of
from tests.repositories import Clock, Publisher, make_repository

RECIPE = LAB / "recipe.toml"
PINNED = LAB / "overlay/etc/abctl/root.json"
_ROOT_SIGNED = 1_780_000_000  # 2026-05-28: always the same root, so that the image can hold it
_ROOT_LIFE = 20 * 365 * DAY
_SOURCES = tuple(REPOSITORY / name for name in ("abctl", "grub", "layout", "requirements.txt"))


@dataclass(frozen=True, slots=True)
class System:
    """A kind of host: ``sources`` is what its image is made of beside abctl itself.

    ``find_recipe`` may write the recipe into the empty folder that it is given.
    """

    name: str  # of the folder in which its stocks are
    sources: tuple[Path, ...]
    find_recipe: Callable[[Path], Path]


PLAIN = System("stock", (RECIPE, LAB / "overlay"), lambda _: RECIPE)


@dataclass(frozen=True)
class Stock:
    """What is built, in a folder named by a hash of all that it is made from."""

    folder: Path

    @property
    def first(self) -> Path:
        """What `abctl build image` made: boot.img, root.img and the release of them."""
        return self.folder / FIRST

    @property
    def disk(self) -> Path:
        """A disk with the first release in slot set A that was never switched on."""
        return self.folder / "disk.img"

    @cached_property
    def repository(self) -> Publisher:
        """The signed repository, with metadata of now."""
        made = Publisher(self.folder / "repository", Clock(int(time.time())))
        with locked():
            if not made.folder.exists():
                make_signed_repository(self, made.folder)
            made.renew(targets=True)
        return made

    def release(self, variant: Variant) -> Path:
        """Return the release directory of a variant, made where it is missing."""
        path = self.folder / "releases" / variant.version
        with locked():
            if not path.exists():
                make_variant(self, variant, path)
        return path


@contextmanager
def locked() -> Iterator[None]:
    """Keep other processes of the lab from building the same things."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def get_stock(system: System = PLAIN) -> Stock:
    """Return what is built from the sources as they are now; build it where it is missing.

    LAB_STOCK=DIRECTORY takes what was built there of plain hosts, whatever the sources are by now.
    """
    if system is PLAIN and (given := os.environ.get("LAB_STOCK")):
        return Stock(Path(given).resolve())
    stock = Stock(CACHE / system.name / key_of_sources(system))
    with locked():
        if not stock.disk.exists():
            build_first(system, stock)
            forget_others(stock)
    return stock


def key_of_sources(system: System) -> str:
    """Return a hash of all that goes into the image."""
    found = hashlib.sha256()
    for root in (*_SOURCES, *system.sources):
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(REPOSITORY)
                found.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0{digest_of(path)}\n".encode())
    return found.hexdigest()[:16]


def build_first(system: System, stock: Stock) -> None:
    """Build the first release and a disk of it with the production command."""
    shutil.rmtree(stock.folder, ignore_errors=True)
    new = stock.folder.with_name(stock.folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        run_abctl(
            "build", "image", "--recipe", system.find_recipe(Path(folder)), "--version", FIRST,
            "--output", new / FIRST, "--layout", LAYOUT, "--disk", new / "disk.img",
        )  # fmt: skip
    set_menu_time(new / "disk.img", 0)
    new.rename(stock.folder)


def forget_others(stock: Stock) -> None:
    """Remove what was built from older sources: it is large."""
    for path in stock.folder.parent.iterdir():
        if path != stock.folder:
            shutil.rmtree(path)


def make_variant(stock: Stock, variant: Variant, path: Path) -> None:
    """Build a release that differs from the first one; good ones with a delta from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stock.folder) as folder:
        images = {part: Path(folder) / f"{part}.img" for part in (Part.BOOT, Part.ROOT)}
        for part, image in images.items():
            copy_sparse(stock.first / f"{part}.img", image)
        variant.apply(images)
        older = []
        if variant in SIGNED:
            older = [f"--from={stock.first / 'release'}"]
        run_abctl(
            "release", "build", path, "--version", variant.version, "--layout", LAYOUT, "--quiet",
            *(f"--{part}={image}" for part, image in images.items()), *older,
            "--level", "3", "--delta-level", "3",
        )  # fmt: skip


def make_signed_repository(stock: Stock, folder: Path, variants: Iterable[Variant] = SIGNED) -> None:
    """Publish releases, the good ones by default, under the root that the image pins."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    made = make_pinned_repository(new)
    assert made.root == PINNED.read_bytes(), "run 'python -m tests.lab root', and build the image anew"
    made.clock.now = int(time.time())
    for variant in variants:
        path = stock.folder / "releases" / variant.version
        if not path.exists():
            make_variant(stock, variant, path)
        made.publish(variant.version, release=path)
    new.rename(folder)


def make_pinned_repository(folder: Path) -> Publisher:
    """Make an empty repository whose first root is the same each time."""
    return make_repository(folder, clock=Clock(_ROOT_SIGNED), lifetimes={Role.ROOT: _ROOT_LIFE})


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file without its zeros."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def run_abctl(*arguments: str | Path) -> str:
    """Run the abctl of this tree; raise AssertionError with its words where it fails."""
    done = subprocess.run(
        [ABCTL, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=CACHE,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"abctl {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}"
    return done.stdout


def prepare(variants: Iterable[Variant]) -> Stock:
    """Build everything, so that scenarios only have to copy."""
    stock = get_stock()
    for variant in variants:
        stock.release(variant)
    assert stock.repository.versions["targets"][-1] == GOOD.version
    return stock
