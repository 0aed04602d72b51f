"""The same images in the form that each tool wants, at the same zstd level; kept in .cache/bench."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.trees import CACHE, run

FILES = CACHE / "files"  # what nginx serves
KEYS = CACHE / "keys"
COMPATIBLE = "bench"
ABCTL = ".venv/bin/abctl"
_LEVEL = "3"


def image(part: str, version: str = "v2") -> Path:
    return CACHE / ("boot.img" if part == "boot" else f"root-{version}.img")


def pack_all() -> None:
    """Pack v2 for all tools, and v1 as what hosts have."""
    FILES.mkdir(parents=True, exist_ok=True)
    _make_keys()
    _once(FILES / "abctl-v1", lambda new: _build(new, "1.0.0", "v1"))
    _once(FILES / "abctl-v2", lambda new: _build(new, "2.0.0", "v2", "--from", str(FILES / "abctl-v1")))
    _once(FILES / "abctl-v2-alone", _copy_without_deltas)
    for part in ("boot", "root"):
        _once(FILES / f"{part}.img.zst", partial(_zstd, image(part)))
        _once(FILES / f"{part}.img.bmap", partial(_bmap, image(part)))
    _once(FILES / "update-img.tar.zst", _pack_older)
    _once(FILES / "update.swu", _pack_swu)
    _once(FILES / "casync", _pack_casync)
    _once(FILES / "update.raucb", _pack_rauc)


def _once(target: Path, make: Callable[[Path], None]) -> None:
    if target.exists():
        return
    new = target.with_name(f"new-{target.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.unlink(missing_ok=True)
    make(new)
    new.rename(target)


def _build(new: Path, version: str, images: str, *options: str) -> None:
    run(
        ABCTL, "release", "build", str(new), "--version", version, "--layout", "hostos", "--level", _LEVEL,
        "--boot", str(image("boot")), "--root", str(image("root", images)), "--progress", "plain", *options,
    )  # fmt: skip


def _copy_without_deltas(new: Path) -> None:
    """The same release, which knows no older one: hosts look for its blocks instead."""
    new.mkdir()
    for file in (FILES / "abctl-v2").iterdir():
        if not file.name.endswith(".delta"):
            os.link(file, new / file.name)
    manifest = json.loads((new / "manifest.json").read_text())
    for entry in manifest["images"]:
        entry["deltas"] = []
    (new / "manifest.json").unlink()
    (new / "manifest.json").write_text(json.dumps(manifest))


def manifest_sha256(name: str) -> str:
    return hashlib.sha256((FILES / name / "manifest.json").read_bytes()).hexdigest()


def delta_options() -> int:
    """Return the bytes of all deltas of v2."""
    return sum(file.stat().st_size for file in (FILES / "abctl-v2").glob("*.delta"))


def _zstd(source: Path, new: Path) -> None:
    run("zstd", "-q", f"-{_LEVEL}", "-T0", str(source), "-o", str(new))


def _bmap(source: Path, new: Path) -> None:
    run("bmaptool", "-q", "create", "-o", str(new), str(source))


def _pack_older(new: Path) -> None:
    folder = CACHE / "older"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for part in ("boot", "root"):
        os.link(image(part), folder / f"{part}.img")
    (folder / "VERSION.TXT").write_text("2.0.0\n")
    program = f"zstd -{_LEVEL} -T0"
    run("tar", "-C", str(folder), "-I", program, "-cf", str(new), "VERSION.TXT", "boot.img", "root.img")
    shutil.rmtree(folder)


def _pack_swu(new: Path) -> None:
    folder = CACHE / "swu"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    entries = []
    for part in ("boot", "root"):
        os.link(FILES / f"{part}.img.zst", folder / f"{part}.img.zst")
        digest = run("sha256sum", str(FILES / f"{part}.img.zst")).split()[0]
        entries.append(
            f'{{ filename = "{part}.img.zst"; device = "@{part}@"; type = "raw"; compressed = "zstd"; '
            f'installed-directly = true; sha256 = "{digest}"; }}'
        )
    # The devices get their names when it is known which they are.
    head = 'version = "2.0.0"; hardware-compatibility: [ "1.0" ];'
    text = f"software = {{ {head} images: ( {', '.join(entries)} ); }}\n"
    for part in ("boot", "root"):
        text = text.replace(f"@{part}@", str((CACHE / f"device-{part}").absolute()))
    (folder / "sw-description").write_text(text)
    run(
        "openssl", "cms", "-sign", "-in", f"{folder}/sw-description", "-out", f"{folder}/sw-description.sig",
        "-signer", f"{KEYS}/cert.pem", "-inkey", f"{KEYS}/key.pem", "-outform", "DER", "-nosmimecap",
        "-binary",
    )  # fmt: skip
    names = "sw-description sw-description.sig boot.img.zst root.img.zst"
    script = f"cd {folder} && printf '%s\\n' {names} | cpio -o -H crc --quiet"
    new.write_bytes(b"")
    run("sh", "-c", f"{script} > {new.resolve()}")
    shutil.rmtree(folder)


def _pack_casync(new: Path) -> None:
    new.mkdir()
    run("casync", "make", f"--store={new}/store.castr", f"{new}/root.caibx", str(image("root")))


def _pack_rauc(new: Path) -> None:
    folder = CACHE / "rauc"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for part in ("boot", "root"):
        os.link(image(part), folder / f"{part}.img")
    (folder / "manifest.raucm").write_text(
        f"[update]\ncompatible={COMPATIBLE}\nversion=2.0.0\n\n[bundle]\nformat=plain\n\n"
        "[image.boot]\nfilename=boot.img\n\n[image.rootfs]\nfilename=root.img\n"
    )
    run(
        "rauc", f"--cert={KEYS}/cert.pem", f"--key={KEYS}/key.pem",
        "--mksquashfs-args=-comp zstd -Xcompression-level 3", "bundle", str(folder), str(new),
    )  # fmt: skip
    shutil.rmtree(folder)


def _make_keys() -> None:
    if (KEYS / "cert.pem").exists():
        return
    KEYS.mkdir(exist_ok=True)
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-days", "7300",
        "-subj", "/O=bench/CN=bench", "-keyout", f"{KEYS}/key.pem", "-out", f"{KEYS}/cert.pem",
    )  # fmt: skip


def describe_sizes() -> dict[str, int]:
    """Return the sizes of what is downloaded, by file, in bytes."""
    return {
        "full": sum((FILES / f"{part}.img.zst").stat().st_size for part in ("boot", "root")),
        "abctl full": sum((FILES / f"abctl-v2/{part}.img.zst").stat().st_size for part in ("boot", "root")),
        "abctl delta": delta_options(),
        "manifest": len(json.dumps(json.loads((FILES / "abctl-v2/manifest.json").read_text()))),
    }
