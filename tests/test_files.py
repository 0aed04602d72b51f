"""Files in file systems that are not mounted: mtools and e2fsprogs make them; damage is never believed."""

import os
import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.found import Extent
from abctl.core.layout import Filesystem
from abctl.core.units import KIB, MIB
from abctl.errors import DiskUnusable
from abctl.host.block import ExtentVolume, size_of
from abctl.host.files import find_file, read_file
from tests.disks import flip, run

pytestmark = pytest.mark.slow

FAT_SIZES = {12: 2 * MIB, 16: 16 * MIB, 32: 40 * MIB}
FAT_NAMES = st.text("abcXYZ019_-. ", min_size=1, max_size=30).map(lambda name: "n" + name.strip(". ") + "x")


@contextmanager
def opened(path: Path) -> Iterator[ExtentVolume]:
    with ExtentVolume(path, [Extent(0, size_of(path))], "a volume") as volume:
        yield volume


def contents(path: Path, filesystem: Filesystem, name: str) -> bytes | None:
    with opened(path) as volume:
        places = find_file(volume, filesystem, name)
        if places is None:
            return None
        return b"".join(volume.read(place.offset, place.length) for place in places)


def make_tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def make_fat(path: Path, bits: int, tree: Path | None = None) -> Path:
    with path.open("wb") as file:
        file.truncate(FAT_SIZES[bits])
    run("mkfs.vfat", "-F", str(bits), "-s", "1", path)
    if tree:
        run("mcopy", "-s", "-i", path, *sorted(tree.iterdir()), "::/")
    return path


def make_ext(path: Path, kind: str, block: int, tree: Path) -> Path:
    run("mke2fs", "-q", "-t", kind, "-b", str(block), "-d", tree, path, "24M")
    return path


@settings(max_examples=12)
@given(
    st.sampled_from(sorted(FAT_SIZES)),
    st.dictionaries(
        st.lists(FAT_NAMES, min_size=1, max_size=3).map("/".join), st.integers(0, 20000), max_size=12
    ),
)
def test_every_file_that_mtools_wrote_is_found(bits: int, sizes: dict[str, int]) -> None:
    # FAT does not tell cases apart, and a name cannot be a file and a folder.
    names: dict[str, str] = {}
    for name in sizes:
        clash = any(
            f"{name.lower()}/".startswith(f"{other}/") or f"{other}/".startswith(f"{name.lower()}/")
            for other in names
        )
        if not clash:
            names[name.lower()] = name
    noise = random.Random(1)
    files = {name: noise.randbytes(sizes[name]) for name in names.values()}
    with tempfile.TemporaryDirectory() as folder:
        tree = make_tree(Path(folder) / "tree", files | {"always": b"here"})
        image = make_fat(Path(folder) / "image", bits, tree)
        for name, data in files.items():
            assert contents(image, Filesystem.VFAT, name) == data
            assert contents(image, Filesystem.VFAT, name.swapcase()) == data
            assert contents(image, Filesystem.VFAT, name + "y") is None
        assert contents(image, Filesystem.VFAT, "always/not") is None


@pytest.mark.parametrize("bits", sorted(FAT_SIZES))
def test_fragments_and_long_folders_of_a_fat_are_followed(tmp_path: Path, bits: int) -> None:
    image = make_fat(tmp_path / "image", bits)
    noise = random.Random(2)
    run("mmd", "-i", image, "::folder")
    pieces = make_tree(
        tmp_path / "tree", {f"folder/a rather long name {n}": noise.randbytes(700) for n in range(90)}
    )
    run("mcopy", "-i", image, *sorted((pieces / "folder").iterdir()), "::folder")
    # Every other one goes, and a file takes the gaps.
    run("mdel", "-i", image, *(f"::folder/a rather long name {n}" for n in range(0, 90, 2)))
    if bits == 32:
        with image.open("r+b") as file:
            file.seek(512 + 488)  # where FAT32 remembers what is free
            file.write(b"\xff" * 8)
    big = tmp_path / "big"
    big.write_bytes(noise.randbytes(60 * KIB))
    run("mcopy", "-i", image, big, "::folder/big")
    with opened(image) as volume:
        places = find_file(volume, Filesystem.VFAT, "folder/big")
    assert places is not None
    assert len(places) > 5
    assert contents(image, Filesystem.VFAT, "folder/big") == big.read_bytes()
    assert contents(image, Filesystem.VFAT, "folder/a rather long name 88") is None
    last = "folder/a rather long name 89"
    assert contents(image, Filesystem.VFAT, last) == (pieces / last).read_bytes()


@pytest.fixture
def fat(tmp_path: Path) -> Path:
    """A FAT16 with one sector a cluster; the folder env1, which starts at cluster 2, takes several."""
    files = {f"env1/f{n:02}": b"" for n in range(40)}
    tree = make_tree(tmp_path / "tree", {"env1/grubenv": b"#" * 1024} | files)
    return make_fat(tmp_path / "image", 16, tree)


def boot_field(path: Path, offset: int, form: str) -> int:
    return int(struct.unpack_from(form, path.read_bytes()[:512], offset)[0])


def set_fat_entry(path: Path, cluster: int, value: int) -> None:
    start = boot_field(path, 14, "<H") * 512
    with path.open("r+b") as file:
        file.seek(start + cluster * 2)
        file.write(struct.pack("<H", value))


def first_cluster(path: Path, name: str) -> int:
    with opened(path) as volume:
        places = find_file(volume, Filesystem.VFAT, name)
    assert places
    fats = boot_field(path, 16, "<B") * boot_field(path, 22, "<H")
    data = (boot_field(path, 14, "<H") + fats) * 512 + boot_field(path, 17, "<H") * 32
    return (places[0].offset - data) // 512 + 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("env1/grubenv", None, "leads back to itself"),
        ("env1/grubenv", 0, "leads to cluster 0"),
        ("env1/grubenv", 1, "leads to cluster 1 "),
        ("env1/grubenv", 0xFFF7, "leads to cluster 65527"),
        ("env1/grubenv", 0xFFFF, "grubenv is shorter than its directory says"),
        ("env1/not there", None, "leads back to itself"),
        ("env1/not there", 0xFFEF, "leads to cluster 65519"),
    ],
)
def test_a_damaged_chain_ends_in_an_error(fat: Path, name: str, value: int | None, words: str) -> None:
    cluster = first_cluster(fat, name) if name == "env1/grubenv" else 2
    set_fat_entry(fat, cluster, cluster if value is None else value)
    with pytest.raises(DiskUnusable, match=words):
        contents(fat, Filesystem.VFAT, name)


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (510, b"\0\0"),  # no signature
        (11, b"\0\0"),  # no sector size
        (11, b"\x01\x02"),
        (13, b"\0"),  # no cluster size
        (14, b"\0\0"),
        (16, b"\0"),  # no FAT
        (22, b"\0\0"),
        (22, b"\x01\0"),  # a FAT too short for its clusters
        (22, b"\xff\xff"),  # a FAT that fills the volume
        (19, b"\xff\xff"),  # more sectors than the volume
    ],
)
def test_a_boot_sector_that_makes_no_sense_is_refused(fat: Path, offset: int, data: bytes) -> None:
    with fat.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    with pytest.raises(DiskUnusable, match="FAT file system on a volume is damaged"):
        contents(fat, Filesystem.VFAT, "env1/grubenv")


def test_a_file_system_cut_short_is_refused(tmp_path: Path, fat: Path, ext_tree: Path) -> None:
    os.truncate(fat, 8 * MIB)
    with pytest.raises(DiskUnusable, match="sizes do not fit together"):
        contents(fat, Filesystem.VFAT, "env1/grubenv")
    ext = make_ext(tmp_path / "ext", "ext4", 4096, ext_tree)
    os.truncate(ext, 8 * MIB)
    with pytest.raises(DiskUnusable, match="larger than the volume"):
        contents(ext, Filesystem.EXT4, "abctl/record")


def test_what_is_no_fat_is_refused(tmp_path: Path) -> None:
    for size in (0, 100, MIB):
        path = tmp_path / f"image{size}"
        path.write_bytes(bytes(size))
        with pytest.raises(DiskUnusable, match="no boot sector"):
            contents(path, Filesystem.VFAT, "grubenv")


EXT_FILES = {
    "abctl/record": b" " * 64 * KIB,
    "opt/ic/share/version.txt": b"2.0.1\n",
    "boot/vmlinuz-6.1": random.Random(3).randbytes(3 * MIB),
    "empty": b"",
} | {f"many/file-{n}-with-a-rather-long-name": random.Random(n).randbytes(n * 37) for n in range(300)}


@pytest.fixture(scope="module")
def ext_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = make_tree(tmp_path_factory.mktemp("ext"), EXT_FILES)
    (tree / "vmlinuz").symlink_to("boot/vmlinuz-6.1")
    (tree / "absolute").symlink_to("/many/../boot/./vmlinuz-6.1")
    (tree / "boot/up").symlink_to("../opt/ic")
    (tree / "boot/top").symlink_to("/opt/ic")
    (tree / "slow").symlink_to("./" * 100 + "boot")
    (tree / "loop").symlink_to("loop")
    (tree / "outside").symlink_to("../../../boot")
    (tree / "nowhere").symlink_to("not/there")
    return tree


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
@pytest.mark.parametrize("block", [1024, 2048, 4096])
def test_every_file_of_an_ext_file_system_is_read(
    tmp_path: Path, ext_tree: Path, kind: str, block: int
) -> None:
    image = make_ext(tmp_path / "image", kind, block, ext_tree)
    with opened(image) as volume:
        for name, data in EXT_FILES.items():
            assert read_file(volume, name, 1 << 40) == data
            assert read_file(volume, f"/{name}", 10) == data[:10]
            assert contents(image, Filesystem.EXT4, name) == data
        kernel = EXT_FILES["boot/vmlinuz-6.1"]
        for name in ("vmlinuz", "absolute", "slow/vmlinuz-6.1", "outside/vmlinuz-6.1", "boot/../vmlinuz"):
            assert read_file(volume, name, 1 << 40) == kernel, name
        for name in ("boot/up/share/version.txt", "boot/top/share/version.txt"):
            assert read_file(volume, name, 64) == b"2.0.1\n", name
        for name in ("not", "not/there", "nowhere", "empty/x", "many", "", "/"):
            assert read_file(volume, name, 64) is None, name
        with pytest.raises(DiskUnusable, match="too many symbolic links"):
            read_file(volume, "loop", 64)


def debugfs(image: Path, *commands: str) -> None:
    for command in commands:
        run("debugfs", "-w", "-R", command, image)


def test_files_that_cannot_be_overwritten_in_place_are_refused(tmp_path: Path, ext_tree: Path) -> None:
    image = make_ext(tmp_path / "image", "ext4", 4096, ext_tree)
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(64 * KIB)
        file.write(b"end")
    debugfs(
        image,
        f"write {sparse} sparse",
        f"write {sparse} unwritten",
        "fallocate unwritten 0 15",
        "punch vmlinuz 0 0",
    )
    for name in ("sparse", "unwritten"):
        with pytest.raises(DiskUnusable, match=f"{name} on a volume has holes"):
            contents(image, Filesystem.EXT4, name)
    with opened(image) as volume:
        assert read_file(volume, "sparse", 1 << 20) == sparse.read_bytes()
        assert read_file(volume, "unwritten", 1 << 20) == sparse.read_bytes()


def test_what_is_no_ext_file_system_has_no_files(tmp_path: Path) -> None:
    for size in (0, 1024, MIB):
        path = tmp_path / f"image{size}"
        path.write_bytes(bytes(size))
        with opened(path) as volume:
            assert read_file(volume, "vmlinuz", 1) is None
            with pytest.raises(DiskUnusable, match="no superblock"):
                find_file(volume, Filesystem.EXT4, "vmlinuz")
            with pytest.raises(DiskUnusable, match="does not say which file system"):
                find_file(volume, None, "vmlinuz")


def never_worse_than_refused(make: Callable[[], object]) -> None:
    try:
        make()
    except DiskUnusable:
        return


@pytest.fixture(scope="module")
def ext_image(tmp_path_factory: pytest.TempPathFactory, ext_tree: Path) -> Path:
    return make_ext(tmp_path_factory.mktemp("image") / "image", "ext4", 1024, ext_tree)


@pytest.fixture(scope="module")
def ext_metadata(ext_image: Path) -> list[int]:
    """Offsets of bytes that mean something: superblock, descriptors, inodes, folders, block maps."""
    data = ext_image.read_bytes()
    return [offset for offset in range(1024, 2 * MIB) if data[offset] or 1024 <= offset < 2048]


@pytest.mark.slow
@settings(max_examples=80)
@given(st.data())
def test_a_hostile_ext_file_system_is_read_or_refused(
    ext_image: Path, ext_metadata: list[int], data: st.DataObject
) -> None:
    offsets = data.draw(st.lists(st.sampled_from(ext_metadata), min_size=1, max_size=6))
    before = {offset: data.draw(st.integers(1, 255)) for offset in offsets}
    for offset, value in before.items():
        flip(ext_image, offset, value)
    try:
        with opened(ext_image) as volume:
            for name in ("abctl/record", "vmlinuz", "many/file-299-with-a-rather-long-name"):
                never_worse_than_refused(lambda name=name: read_file(volume, name, MIB))  # type: ignore[misc]
                never_worse_than_refused(lambda name=name: find_file(volume, Filesystem.EXT4, name))  # type: ignore[misc]
    finally:
        for offset, value in before.items():
            flip(ext_image, offset, value)


@pytest.fixture(scope="module", params=sorted(FAT_SIZES))
def fat_image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fat")
    tree = make_tree(folder / "tree", {f"env{n}/a long name {n}": bytes([n]) * n * 500 for n in range(1, 30)})
    return make_fat(folder / "image", request.param, tree)


@settings(max_examples=100)
@given(st.data())
def test_a_hostile_fat_is_read_or_refused(fat_image: Path, data: st.DataObject) -> None:
    start = boot_field(fat_image, 14, "<H") * 512
    places = st.integers(0, 90) | st.integers(start, start + 2000) | st.integers(0, MIB)
    changes = data.draw(st.dictionaries(places, st.integers(1, 255), min_size=1, max_size=6))
    for offset, value in changes.items():
        flip(fat_image, offset, value)
    try:
        for name in ("env1/a long name 1", "env29/a long name 29", "not/there"):
            never_worse_than_refused(lambda name=name: contents(fat_image, Filesystem.VFAT, name))  # type: ignore[misc]
    finally:
        for offset, value in changes.items():
            flip(fat_image, offset, value)
