"""Builds real releases, the same bytes each time: ext4 images with real files, packed for a server."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backports import zstd

from abctl.cli import cli
from abctl.core.release import MANIFEST_NAME, Compression
from abctl.core.slot import Part
from abctl.core.units import MIB, Digest

HEALTH_CHECK = "etc/abctl/health.d/required/selftest"  # run by what boots the root image
VERSION_FILE = "opt/ic/share/version.txt"
BOOT_SIZE = 32 * MIB
ROOT_SIZE = 64 * MIB
LAYOUT = "hostos-small"

_TIME = 1_700_000_000  # of every file in every image
_UUID_SPACE = uuid.UUID("0d9fae4e-9d52-4b55-9c6e-3a1f5c1a7b11")
# What GRUB 2.06 cannot read is left out, and so is the journal: the images are read only.
_FEATURES = "^has_journal,^metadata_csum_seed,^orphan_file"
_SUFFIXES = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
# As the zstd program does it.
_ZSTD: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.checksum_flag: 1,
}
_BUSYBOX_NAMES = ("cat", "ls", "mount", "sh", "umount")

Images = Mapping[Part, Path]


@dataclass(frozen=True, slots=True)
class Release:
    """A release directory."""

    directory: Path
    version: str
    manifest_sha256: Digest

    @property
    def manifest(self) -> Path:
        return self.directory / MANIFEST_NAME


@dataclass(frozen=True, slots=True)
class Archive:
    """The older system's archive."""

    path: Path
    version: str
    sha256: Digest


def make_release(
    directory: Path,
    version: str,
    *,
    kernel: Path | None = None,
    layout: str = LAYOUT,
    health_check: str = "exit 0\n",
    compression: Compression = Compression.ZSTD,
    boot_size: int = BOOT_SIZE,
    root_size: int = ROOT_SIZE,
) -> Release:
    """Build a bootable system and pack it as a release directory; sizes of the images in bytes.

    Without ``kernel`` there is a file of that name that no machine could run.
    """
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(
            Path(folder), version, kernel, health_check=health_check, boot_size=boot_size, root_size=root_size
        )
        return pack_release(directory, version, images, layouts=(layout,), compression=compression)


def make_archive(
    path: Path,
    version: str,
    *,
    kernel: Path | None = None,
    health_check: str = "exit 0\n",
    sparse: bool = True,
    boot_size: int = BOOT_SIZE,
    root_size: int = ROOT_SIZE,
) -> Archive:
    """Build a bootable system and pack it as an archive: zstd, gzip or bare, as the name of ``path`` says."""
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(
            Path(folder), version, kernel, health_check=health_check, boot_size=boot_size, root_size=root_size
        )
        return pack_archive(path, version, images, sparse=sparse)


# --- file systems -----------------------------------------------------------------------------------


def make_images(
    folder: Path, version: str, kernel: Path | None, *, health_check: str, boot_size: int, root_size: int
) -> Images:
    """Make boot.img and root.img in ``folder``."""
    boot, root = folder / "boot", folder / "root"
    _write(boot / "config.txt", f"# kernel configuration of release {version}\nCONFIG_EXT4_FS=y\n")
    _write(boot / "initrd.img", f"initrd of release {version}\n")
    if kernel:
        shutil.copy(kernel, boot / "vmlinuz")
    else:
        _write(boot / "vmlinuz", f"no kernel, but the bytes of release {version}\n" * 4096)
    _write(root / VERSION_FILE, f"{version}\n")
    _write(root / "etc/os-release", f'NAME=HostOS\nID=hostos\nVERSION_ID="{version}"\n')
    _write(root / HEALTH_CHECK, f"#!/bin/sh\n{health_check}", mode=0o755)
    for name in ("boot", "dev", "proc", "run", "sys", "tmp", "var"):
        (root / name).mkdir()
    _install_busybox(root / "bin")
    return {
        Part.BOOT: make_ext4(folder / "boot.img", boot, boot_size, f"{version} boot"),
        Part.ROOT: make_ext4(folder / "root.img", root, root_size, f"{version} root"),
    }


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _install_busybox(folder: Path) -> None:
    folder.mkdir()
    found = shutil.which("busybox")
    if found is None:
        return
    shutil.copy(found, folder / "busybox")
    for name in _BUSYBOX_NAMES:
        (folder / name).symlink_to("busybox")


def make_ext4(image: Path, tree: Path, size: int, name: str) -> Path:
    """Make an ext4 image of ``size`` bytes that holds ``tree``; all that varies is made from ``name``."""
    identity = str(uuid.uuid5(_UUID_SPACE, name))
    _run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", _FEATURES, "-U", identity,
        "-E", f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0", "-d", str(tree),
        str(image), f"{size // 1024}k",
    )  # fmt: skip
    # mke2fs takes owners from the tree, and times that nobody can set.
    paths = ["/", *(f"/{path.relative_to(tree)}" for path in sorted(tree.rglob("*")))]
    fields = {"uid": 0, "gid": 0, "atime": f"@{_TIME}", "ctime": f"@{_TIME}", "mtime": f"@{_TIME}"}
    fields |= {f"{field}_extra": 0 for field in ("atime", "ctime", "mtime")}
    script = [f"sif {path} {field} {value}" for path in paths for field, value in fields.items()]
    _run("debugfs", "-w", "-f", "-", str(image), stdin="\n".join(script))
    return image


def _run(*command: str, stdin: str = "") -> None:
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(_TIME), "SOURCE_DATE_EPOCH": str(_TIME)}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr}"


# --- packing ----------------------------------------------------------------------------------------


def pack_release(
    directory: Path,
    version: str,
    images: Images,
    *,
    layouts: tuple[str, ...] = (LAYOUT,),
    compression: Compression = Compression.ZSTD,
) -> Release:
    """Pack any two images as a release directory."""
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for part, image in images.items():
        target = directory / f"{part}.img{_SUFFIXES[compression]}"
        pack_file(image, target, compression)
        entries.append(
            {
                "part": part.value,
                "file": target.name,
                "compression": compression.value,
                "download": describe_content(target),
                "image": describe_content(image),
            }
        )
    manifest = {"format": 1, "version": version, "layouts": list(layouts), "images": entries}
    return Release(directory, version, write_manifest(directory, manifest))


def build_release(
    directory: Path,
    version: str,
    images: Images,
    *,
    layouts: tuple[str, ...] = (LAYOUT,),
    older: tuple[Path, ...] = (),
    level: int = 1,
    threads: int = 2,
) -> Release:
    """Build any two images as a release directory with chunks, and deltas from the ``older`` ones."""
    command = ["release", "build", str(directory), "--version", version, "--quiet", "--json"]
    command += ["--level", str(level), "--delta-level", str(level), "--threads", str(threads)]
    command += [f"--{part}={image}" for part, image in images.items()]
    command += [f"--layout={layout}" for layout in layouts] + [f"--from={folder}" for folder in older]
    cli.main(command, standalone_mode=False)
    return Release(directory, version, digest_of(directory / MANIFEST_NAME))


def write_manifest(directory: Path, manifest: Any) -> Digest:
    """Write whatever is given as the manifest of ``directory``, and return its SHA-256."""
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest, indent=2).encode() + b"\n"
    (directory / MANIFEST_NAME).write_bytes(data)
    return Digest(hashlib.sha256(data).hexdigest())


def pack_file(source: Path, target: Path, compression: Compression) -> None:
    with source.open("rb") as reader, target.open("wb") as file:
        match compression:
            case Compression.NONE:
                shutil.copyfileobj(reader, file, MIB)
            case Compression.GZIP:
                with gzip.GzipFile("", "wb", 1, file, 0) as packer:
                    shutil.copyfileobj(reader, packer, MIB)
            case Compression.ZSTD:
                with zstd.ZstdFile(file, "w", options=_ZSTD) as packer:
                    shutil.copyfileobj(reader, packer, MIB)


def describe_content(path: Path) -> dict[str, int | str]:
    return {"size": path.stat().st_size, "sha256": digest_of(path)}


def digest_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def pack_archive(
    path: Path,
    version: str,
    images: Images,
    *,
    sparse: bool = True,
    form: str = "gnu",
    names: tuple[str, ...] = (".",),
) -> Archive:
    """Pack any two images as the older system does, with GNU tar.

    ``form`` is a format that tar knows; ``names`` are packed in this order.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree, bare = Path(folder) / "tree", Path(folder) / "bare.tar"
        tree.mkdir()
        for part, image in images.items():
            _copy_sparse(image, tree / f"{part}.img")
        (tree / "VERSION.TXT").write_text(f"{version}\n")
        options = ["--sparse"] if sparse else []
        if form == "posix":
            options.append("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
        _run(
            "tar", f"--format={form}", "--sort=name", "--owner=0", "--group=0", "--numeric-owner",
            "--mtime=@0", *options, "-C", str(tree), "-cf", str(bare), *names,
        )  # fmt: skip
        return pack_tar(path, version, bare)


def pack_tar(path: Path, version: str, bare: Path) -> Archive:
    """Pack a tar as the name of ``path`` says."""
    endings = {".zst": Compression.ZSTD, ".gz": Compression.GZIP, ".tgz": Compression.GZIP}
    path.parent.mkdir(parents=True, exist_ok=True)
    pack_file(bare, path, endings.get(path.suffix, Compression.NONE))
    return Archive(path, version, digest_of(path))


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a file and leave out what is zeros."""
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(4096):
            if block.strip(b"\0"):
                writer.write(block)
            else:
                writer.seek(len(block), os.SEEK_CUR)
        writer.truncate(source.stat().st_size)
