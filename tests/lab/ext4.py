"""Change files in an ext4 image, by debugfs: what a bad release is made of."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_TIME = "1700000000"  # of what is changed, so that the same edits give the same bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Put:
    """Make or replace a file; its folders are made where they are missing."""

    path: str
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """Make a symbolic link."""

    path: str
    to: str


@dataclass(frozen=True, slots=True)
class Garble:
    """Overwrite the middle half of a file with other bytes."""

    path: str


Edit = Remove | Put | Link | Garble


def edit_image(image: Path, *edits: Edit) -> None:
    """Perform the edits one after the other; raise AssertionError where one did not work."""
    with tempfile.TemporaryDirectory() as folder:
        for edit in edits:
            _perform(image, edit, Path(folder))


def read_from_image(image: Path, path: str) -> bytes:
    """Return the bytes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        _debugfs(image, f"dump {path} {target}")
        return target.read_bytes()


def _perform(image: Path, edit: Edit, folder: Path) -> None:
    match edit:
        case Remove(path):
            _debugfs(image, f"rm {path}")
            assert not _exists(image, path), f"{path} is still in {image}"
        case Put(path, data, mode):
            _put(image, path, data, mode, folder / "file")
        case Link(path, to):
            _make_folders(image, path)
            _debugfs(image, f"symlink {path} {to}")
            assert _exists(image, path), f"{path} is not in {image}"
        case Garble(path):
            data = read_from_image(image, path)
            quarter = len(data) // 4
            garbled = data[:quarter] + bytes(quarter * 2) + data[quarter * 3 :]
            _put(image, path, garbled, 0o644, folder / "file")


def _put(image: Path, path: str, data: bytes, mode: int, source: Path) -> None:
    source.write_bytes(data)
    _make_folders(image, path)
    if _exists(image, path):
        _debugfs(image, f"rm {path}")
    _debugfs(
        image, f"write {source} {path}", f"sif {path} mode 0{0o100000 | mode:o}",
        f"sif {path} uid 0", f"sif {path} gid 0",
    )  # fmt: skip
    assert read_from_image(image, path) == data, f"{path} is not as it should be in {image}"


def _make_folders(image: Path, path: str) -> None:
    for parent in reversed(Path(path).parents[:-1]):
        if not _exists(image, str(parent)):
            _debugfs(image, f"mkdir {parent}")


def _exists(image: Path, path: str) -> bool:
    return "File not found" not in _debugfs(image, f"stat {path}")


def _debugfs(image: Path, *script: str) -> str:
    done = subprocess.run(
        ["debugfs", "-w", "-f", "-", str(image)],
        input="\n".join(script) + "\n", capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "E2FSPROGS_FAKE_TIME": _TIME, "DEBUGFS_PAGER": "__none__"},
    )  # fmt: skip
    return done.stdout + done.stderr
