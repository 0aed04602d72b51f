"""Assertions on installations that must fail, and the offers they are made of."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abctl.core.units import Digest
from abctl.errors import AbctlError
from abctl.host.fetching import Fetching
from abctl.host.source import locate_release
from abctl.ports import Offer
from abctl.update.install import install
from tests.fake_volumes import LAYOUT, MemoryDisk
from tests.releases import Archive, Release, write_manifest

WRONG = Digest("0" * 64)
EMPTIED = "Slot set B was being written and is left empty; slot set A is untouched"
STALL_TIMEOUT = 0.3  # seconds


def offer_of(release: Release | Archive) -> Offer:
    """Offer what stands in a folder."""
    if isinstance(release, Archive):
        return locate_release(str(release.path), release.sha256)
    return locate_release(str(release.directory), release.manifest_sha256)


def offer_from(url: str, release: Release | Archive | Digest) -> Offer:
    """Offer what a server has, which is given up soon where it stalls."""
    match release:
        case Release():
            sha256 = release.manifest_sha256
        case Archive():
            sha256 = release.sha256
        case _:
            sha256 = release
    fetching = Fetching(stall_timeout=STALL_TIMEOUT, tries=2, first_pause=0.01)
    return locate_release(url, sha256, fetching)


def with_manifest(release: Release, change: Callable[[dict[str, Any]], object]) -> Release:
    """Return the release with a manifest that was changed, and its digest with it."""
    manifest = json.loads(release.manifest.read_text())
    change(manifest)
    return Release(release.directory, release.version, write_manifest(release.directory, manifest))


def assert_refused(disk: MemoryDisk, offer: Offer, error: type[AbctlError], *words: str) -> None:
    """It fails with this error and these words, and no byte of the disk has changed."""
    before = disk.take_snapshot()
    assert_says(disk, offer, error, *words)
    disk.assert_untouched(before)


def assert_given_up(disk: MemoryDisk, offer: Offer, error: type[AbctlError], *words: str) -> None:
    """It fails with this error and these words after the first write; what runs is safe."""
    before = disk.take_snapshot()
    assert_says(disk, offer, error, *words, EMPTIED)
    disk.assert_given_up(before)


def assert_says(disk: MemoryDisk, offer: Offer, error: type[AbctlError], *words: str) -> None:
    """It fails with exactly this class of error and all these words in its message."""
    with pytest.raises(error) as raised:
        install(disk.ports, LAYOUT, offer)
    assert type(raised.value) is error
    for word in words:
        assert word in str(raised.value)


def list_open_files() -> set[str]:
    """Return what this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return {f"{link.name} {link.readlink()}" for link in links if os.path.lexists(link)}
