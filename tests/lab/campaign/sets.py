"""A set of recordings: of one state of the sources, with the releases that they install."""

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from abctl.core.release import Manifest, parse_manifest
from tests.lab.campaign.places import CAMPAIGN, PLANS
from tests.lab.campaign.recording import Recording
from tests.lab.prepare import Stock, copy_sparse, get_stock
from tests.lab.variants import FIRST, PANICS
from tests.repositories import Clock, Publisher

_LINKED = 1024**2  # bytes; what is smaller may be written anew


@dataclass(frozen=True)
class Set:
    """Recordings of the same sources, the releases that they install, and what was found with them."""

    folder: Path

    @property
    def repository(self) -> Publisher:
        return Publisher(self.folder / "repository", Clock(int(time.time())))

    def manifest_of(self, version: str) -> Manifest:
        path = self.folder / "repository/targets" / version / "manifest.json"
        return parse_manifest((self.folder / "first.json" if version == FIRST else path).read_bytes())

    @property
    def seed(self) -> str:
        return (self.folder / "seed").read_text().strip()

    @property
    def recordings(self) -> list[Recording]:
        return [Recording(self.folder / plan.name, self.seed) for plan in PLANS]


def find_set(*, anew: bool = False) -> Set:
    """Return the newest set of recordings, or an empty one of the sources as they are now."""
    CAMPAIGN.mkdir(parents=True, exist_ok=True)
    known = sorted(CAMPAIGN.glob("set-*"), key=lambda path: path.stat().st_mtime)
    if known and not anew:
        return Set(known[-1])
    stock = get_stock()
    made = Set(CAMPAIGN / f"set-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    new = made.folder.with_name("new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    _take_repository(stock, new / "repository")
    copy_sparse(stock.disk, new / "first.img")
    shutil.copy(stock.first / "release/manifest.json", new / "first.json")
    (new / "seed").write_text(f"{secrets.token_hex(4)}\n")
    (new / "sources").write_text(f"{stock.folder.name}\n")
    new.rename(made.folder)
    return made


def _take_repository(stock: Stock, folder: Path) -> None:
    """Copy the signed repository, with the bad release published beside the good ones."""
    bad = stock.release(PANICS)
    shutil.copytree(stock.repository.folder, folder, copy_function=_copy_or_link)
    Publisher(folder, Clock(int(time.time()))).publish(PANICS.version, release=bad)


def _copy_or_link(source: str, target: str) -> None:
    if Path(source).stat().st_size > _LINKED:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
