"""What stands on a disk: boot environment, record, partition table, and the file systems they lie on."""

import hashlib
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from abctl.core.bootenv import (
    BootEnv,
    EnvFiles,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    decode,
    encode,
    encode_older,
    read_boot_env,
    writing_order,
)
from abctl.core.found import Extent
from abctl.core.grub import next_boot
from abctl.core.record import (
    FILE_SIZE,
    HALF_SIZE,
    Entry,
    Happened,
    Record,
    Refusal,
    encode_half,
)
from abctl.core.record import decode as decode_record
from abctl.core.slot import SlotName
from abctl.core.units import KIB, MIB, Seconds, Version
from abctl.host.block import ExtentVolume
from abctl.host.ext4 import find_in_ext4, read_from_ext4
from abctl.host.fat import find_in_fat
from abctl.host.gpt import read_table
from abctl.host.memory import memory_file
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target

# --- boot environment -------------------------------------------------------------------------------


def _envs() -> list[bytes]:
    """The three copies one after the other, as ``_check_env`` takes them apart."""
    env = BootEnv(
        primary=SlotName.A,
        trial=Trial(SlotName.B, 2),
        slot_sets={
            SlotName.A: SlotSet(SlotState.GOOD, Version("1.0.0")),
            SlotName.B: SlotSet(SlotState.UNTESTED, Version("2.0.0")),
        },
        outcome=Outcome.NONE,
        generation=7,
    )
    return [encode(env) + encode(env) + encode_older(env), encode(env) * 2]


def _check_env(data: bytes) -> None:
    files = EnvFiles(data[:512] or None, data[512:1024] or None, data[1024:] or None)
    reading = read_boot_env(files)
    assert all(sentence.isprintable() for sentence in reading.damage)
    next_boot(files)
    writing_order(files)
    if reading.env is not None:
        assert decode(encode(reading.env)) == reading.env
        again = read_boot_env(EnvFiles(encode(reading.env), encode(reading.env), encode_older(reading.env)))
        assert again.env == reading.env


# --- record -----------------------------------------------------------------------------------------


def _records() -> list[bytes]:
    entries = tuple(
        Entry(Seconds(1_700_000_000 + number), what, SlotName.B, Version("2.0.0"), text="a word")
        for number, what in enumerate(Happened)
    )
    refusal = Refusal(version=Version("2.0.0"), sha256=None, at=Seconds(1), reason="it fell back")
    full = encode_half(Record(entries=entries, refusals=(refusal,), serial=8))
    return [full + encode_half(Record(serial=7)), full]


def seal_record(data: bytes) -> bytes:
    return seal_half(data, HALF_SIZE)


def seal_half(data: bytes, half_size: int) -> bytes:
    """Make the digest of the first half right."""
    head, _, body = data[:half_size].rstrip(b" ").partition(b"\n")
    body = body.rstrip(b"\n")
    words = head.split(b" ")
    words[-1] = hashlib.sha256(body).hexdigest().encode()
    return (b" ".join(words) + b"\n" + body + b"\n").ljust(half_size, b" ") + data[half_size:]


@st.composite
def _made_record(draw: st.DrawFn) -> bytes:
    """A record of the right digest with values of other types."""
    head, _, body = _records()[0][:HALF_SIZE].rstrip().partition(b"\n")
    half = seal_record(head + b"\n" + draw(changed_json(body)))
    return half + draw(st.sampled_from([b"", half, encode_half(Record(serial=7))]))


def _check_record(data: bytes) -> None:
    record, is_whole = decode_record(data[:FILE_SIZE])
    if is_whole:
        half = encode_half(record)
        assert len(half) == HALF_SIZE
        assert decode_record(half)[1]


# --- GPT --------------------------------------------------------------------------------------------

_DISK = 8 * MIB


@cache
def _tables() -> list[bytes]:
    """The first 34 sectors and the last 33 of a small disk."""
    script = "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n"
    script += '1: start=2048, size=2048, name="esp"\n2: start=4096, size=4096, name="lvm"\n'
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(_DISK)
        subprocess.run(
            ["sfdisk", "--quiet", "--wipe", "never", file.name], input=script, text=True, check=True,
            capture_output=True,
        )  # fmt: skip
        disk = Path(file.name).read_bytes()
    return [disk[: 34 * 512] + disk[-33 * 512 :]]


def seal_table(data: bytes) -> bytes:
    """Make the CRCs of both copies right."""
    mended = bytearray(data)
    if len(data) != 67 * 512:
        return data
    for header, entries in ((512, 1024), (66 * 512, 34 * 512)):
        struct.pack_into("<I", mended, header + 88, zlib.crc32(mended[entries : entries + 128 * 128]))
        struct.pack_into("<I", mended, header + 16, 0)
        struct.pack_into("<I", mended, header + 16, zlib.crc32(mended[header : header + 92]))
    return bytes(mended)


def _check_table(data: bytes) -> None:
    with memory_file(_DISK) as file:
        file.write(0, data[: 34 * 512])
        file.write(_DISK - 33 * 512, data[34 * 512 :][: 33 * 512])
        table = read_table(file.path)
    for partition in table.partitions:
        assert partition.name.isprintable() or not partition.name


# --- file systems -----------------------------------------------------------------------------------


@contextmanager
def _volume_of(data: bytes) -> Iterator[ExtentVolume]:
    with memory_file(max(len(data), 1)) as file:
        file.write(0, data)
        with ExtentVolume(file.path, [Extent(0, max(len(data), 1))], "grub") as volume:
            yield volume


def _make_ext4(*options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "image"
        (tree / "grub" / "deep").mkdir(parents=True)
        (tree / "grub" / "grubenv").write_bytes(b"# GRUB Environment Block\n".ljust(1024, b"#"))
        (tree / "grub" / "large").write_bytes(hashlib.sha256(b"large").digest() * 3000)
        (tree / "grub" / "link").symlink_to("deep/../grubenv")
        subprocess.run(
            ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", *options, "-d", tree, image, "400k"],
            check=True,
            capture_output=True,
        )
        return image.read_bytes()


@cache
def _ext4_images() -> list[bytes]:
    return [_make_ext4("-O", "^has_journal"), _make_ext4("-O", "^has_journal,^extents,^64bit")]


def _check_ext4(data: bytes) -> None:
    with _volume_of(data) as volume:
        for path in ("/grub/grubenv", "/grub/link", "/grub/large"):
            content = read_from_ext4(volume, path, 64 * KIB)
            assert content is None or len(content) <= 64 * KIB
            _expect_inside(find_in_ext4(volume, path), volume.size)


@cache
def _fat_images() -> list[bytes]:
    images = []
    for bits, size in (("12", 400), ("16", 2300)):
        with tempfile.TemporaryDirectory() as folder:
            image, content = Path(folder) / "image", Path(folder) / "grubenv"
            content.write_bytes(b"# GRUB Environment Block\n".ljust(1024, b"#"))
            commands: list[list[str | Path]] = [
                ["mkfs.fat", "-F", bits, "-s", "1", "-r", "64", "-C", image, str(size)],
                ["mmd", "-i", image, "::grub"],
                ["mcopy", "-i", image, content, "::grub/grubenv"],
                ["mcopy", "-i", image, content, "::grub/a long name of a file.txt"],
            ]
            for command in commands:
                subprocess.run(command, check=True, capture_output=True)
            images.append(image.read_bytes())
    return images


def _check_fat(data: bytes) -> None:
    with _volume_of(data) as volume:
        for path in ("grub/grubenv", "grub/a long name of a file.txt", "grub/none"):
            _expect_inside(find_in_fat(volume, path), volume.size)


def _expect_inside(places: tuple[Extent, ...] | None, size: int) -> None:
    for place in places or ():
        assert 0 <= place.offset < place.offset + place.length <= size, place


TARGETS = (
    Target("boot-env", _envs, _check_env),
    Target("record", _records, _check_record, _made_record(), seal_record),
    Target("gpt", _tables, _check_table, repair=seal_table, cost=20),
    Target("ext4", _ext4_images, _check_ext4, cost=2),
    Target("fat", _fat_images, _check_fat, cost=5),
)
