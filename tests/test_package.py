"""What is handed out: the Debian packages and the wheel. tests/package-test installs and uses them."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from abctl.build.abctl_tree import DATA, make_abctl_tree, make_host_files
from abctl.core.config import Config, parse_config
from abctl.host.data import find_data
from tests.host_files import Stage
from tests.releases import make_release

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[1]
SCRIPTS = TREE / "package"
PACKAGES = ("abctl", "abctl-host")
RUNNING = "run/systemd/system"
# Of the C library and what comes with it; all else has a package of its own.
LIBC = {"libc.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6", "ld-linux-x86-64.so.2"}
LIBRARIES = {"libgcc_s.so.1": "libgcc-s1", "libparted.so.2": "libparted2"}


def make(kind: str, output: Path, **environment: str) -> None:
    quick = ("--level", "0") if kind == "deb" else ()
    command = (sys.executable, "-m", f"package.{kind}", "--output", str(output), *quick)
    subprocess.run(command, cwd=TREE, env={**os.environ, **environment}, check=True, capture_output=True)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages by their names."""
    folder = tmp_path_factory.mktemp("debs")
    make("deb", folder)
    return {path.name.partition("_")[0]: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def unpacked(debs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is in each package, and in DEBIAN what dpkg is told of it."""
    folder = tmp_path_factory.mktemp("unpacked")
    for name, deb in debs.items():
        subprocess.run(["dpkg-deb", "--raw-extract", deb, folder / name], check=True)
    return {name: folder / name for name in debs}


def list_files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    return {path for path in found if not path.startswith("DEBIAN/")}


def field(unpacked: Path, name: str) -> str:
    text = (unpacked / "DEBIAN/control").read_text()
    match = re.search(rf"^{name}: (.*)$", text, re.M)
    assert match, text
    return match[1]


def read_elf(path: Path, *options: str) -> str:
    done = subprocess.run(["readelf", "--wide", *options, path], capture_output=True, text=True, check=True)
    return done.stdout


# --- what is in them --------------------------------------------------------------------------------


def test_a_package_lays_out_what_an_image_has_in_the_same_places(
    unpacked: dict[str, Path], tmp_path: Path
) -> None:
    image = make_abctl_tree({name: find_data(name) for name in DATA}, tmp_path)
    for path, node in image.items():
        if node.is_folder or node.source is None:
            continue
        place = f"{path}.gz" if path.startswith("usr/share/man/") else path
        (packaged,) = (folder / place for folder in unpacked.values() if (folder / place).exists())
        if not place.endswith((".gz", ".so")):
            assert packaged.read_bytes() == node.source.read_bytes(), path
        assert packaged.stat().st_mode & 0o7777 == node.mode & 0o7777, path


def test_what_makes_a_host_is_in_a_package_of_its_own(unpacked: dict[str, Path]) -> None:
    assert set(unpacked) == set(PACKAGES)
    command, host = (list_files(unpacked[name]) for name in PACKAGES)
    assert not command & host
    elsewhere = {path for path in command if not path.startswith("usr/lib/abctl/python/")}
    for folder in ("usr/lib/systemd/", "usr/share/initramfs-tools/", "usr/lib/tmpfiles.d/", "usr/sbin/"):
        assert [path for path in elsewhere if path.startswith(folder)] == []
        assert [path for path in host if path.startswith(folder)]
    assert {path for path in elsewhere if path.startswith("etc/")} == {"etc/abctl/config.toml"}
    assert field(unpacked["abctl-host"], "Depends").startswith("abctl (= ")


def test_an_installed_abctl_has_what_it_puts_into_images(unpacked: dict[str, Path]) -> None:
    folder = unpacked["abctl"] / "usr/lib/abctl/python"
    assert {path for path, node in make_host_files().items() if not node.is_folder} == list_files(
        folder / "abctl/files"
    )
    # Its packages are found again as any installer's are.
    for metadata in folder.glob("*.dist-info"):
        listed = {line.split(",")[0] for line in (metadata / "RECORD").read_text().splitlines()}
        assert listed
        assert [path for path in listed if not (folder / path).is_file()] == []


def test_all_that_an_admin_may_change_is_kept_by_dpkg(unpacked: dict[str, Path]) -> None:
    for folder in unpacked.values():
        in_etc = {f"/{path}" for path in list_files(folder) if path.startswith("etc/")}
        assert set((folder / "DEBIAN/conffiles").read_text().split()) == in_etc
        assert in_etc


def test_checksums_are_right(unpacked: dict[str, Path]) -> None:
    for folder in unpacked.values():
        lines = (folder / "DEBIAN/md5sums").read_text().splitlines()
        sums = {path: digest for digest, path in (line.split("  ") for line in lines)}
        assert set(sums) == {path for path in list_files(folder) if not path.startswith("etc/")}
        for path, digest in sums.items():
            data = (folder / path).read_bytes()
            assert hashlib.md5(data, usedforsecurity=False).hexdigest() == digest, path


def test_documents_that_units_name_are_there(unpacked: dict[str, Path]) -> None:
    units = [
        path for path in (unpacked["abctl-host"] / "usr/lib/systemd/system").rglob("*") if path.is_file()
    ]
    named = re.findall(r"^Documentation=file:///(\S+)$", "\n".join(path.read_text() for path in units), re.M)
    assert named
    assert {path for path in named if not (unpacked["abctl"] / path).is_file()} == set()


def test_libraries_that_compiled_code_needs_are_named(unpacked: dict[str, Path]) -> None:
    depends = field(unpacked["abctl"], "Depends")
    oldest = re.search(r"libc6 \(>= ([0-9.]+)\)", depends)
    assert oldest
    versions: set[tuple[int, ...]] = set()
    for library in unpacked["abctl"].rglob("*.so"):
        said = read_elf(library, "--dynamic", "--version-info")
        needed = set(re.findall(r"Shared library: \[([^]]+)\]", said)) - LIBC
        assert needed <= set(LIBRARIES), library
        assert [name for name in needed if LIBRARIES[name] not in depends] == []
        versions |= {tuple(map(int, text.split("."))) for text in re.findall(r"GLIBC_([0-9.]+)", said)}
    assert max(versions) == tuple(map(int, oldest[1].split(".")))
    assert f"python3 (<< 3.{sys.version_info.minor + 1}~)" in depends


def test_compiled_code_keeps_its_protection_and_loses_what_depends_on_the_build_machine(
    unpacked: dict[str, Path],
) -> None:
    for library in unpacked["abctl"].rglob("*.so"):
        said = read_elf(library, "--segments", "--sections", "--notes")
        assert "GNU_RELRO" in said
        assert not re.search(r"\.symtab|\.debug|Build ID: (?!0+\n)", said)


def test_nothing_of_this_machine_is_in_a_package(unpacked: dict[str, Path]) -> None:
    for folder in unpacked.values():
        found = subprocess.run(
            ["grep", "-rlF", str(TREE), str(folder)], capture_output=True, text=True, check=False
        )
        assert found.stdout == ""


def test_each_package_that_is_brought_along_names_its_licence(unpacked: dict[str, Path]) -> None:
    text = (unpacked["abctl"] / "usr/share/doc/abctl/copyright").read_text()
    for metadata in (unpacked["abctl"] / "usr/lib/abctl/python").glob("*.dist-info"):
        said = (metadata / "METADATA").read_text()
        name = re.search(r"^Name: (.*)$", said, re.M)
        version = re.search(r"^Version: (.*)$", said, re.M)
        assert name
        assert version
        assert name[1] == "abctl" or re.search(rf"^{name[1]} {version[1]}: (?!not stated)\S", text, re.M)
    for path in re.findall(r"^    /(\S+)$", text, re.M):
        assert (unpacked["abctl"] / path).is_file()


def test_two_makings_give_the_same_bytes(debs: dict[str, Path], tmp_path: Path) -> None:
    """Later, in another time zone and language, with another umask and another place for files."""
    scratch = tmp_path / "elsewhere"
    scratch.mkdir()
    umask = os.umask(0o077)
    try:
        make("deb", tmp_path / "again", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", TMPDIR=str(scratch))
    finally:
        os.umask(umask)
    for deb in debs.values():
        assert (tmp_path / "again" / deb.name).read_bytes() == deb.read_bytes(), deb.name


# --- what they do when they are installed and removed -----------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A system that runs, and programs that are only noted."""
    made = Stage(tmp_path, environment={"DPKG_ROOT": str(tmp_path)})
    (tmp_path / RUNNING).mkdir(parents=True)
    for program in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "py3compile", "py3clean"):
        made.play(program)
    made.play("ischroot", "exit 1")
    return made


def test_nothing_is_started_or_enabled(stage: Stage) -> None:
    """The package may lie on a machine that is no host, and an A/B host's units belong to its boot."""
    for name in PACKAGES:
        for script, state in (("postinst", "configure"), ("prerm", "upgrade"), ("postrm", "upgrade")):
            if (SCRIPTS / name / script).exists():
                done = stage.run("sh", SCRIPTS / name / script, state, "0.1.0")
                assert (done.returncode, done.stderr) == (0, "")
    assert {call for call in stage.calls if call.startswith("systemctl")} == {
        "systemctl --system daemon-reload"
    }
    assert "systemd-sysusers abctl.conf" in stage.calls


@pytest.mark.parametrize(
    ("words", "in_chroot", "removed"),
    [
        ("dfinity.system=A abctl.why=primary", False, False),
        ("quiet dfinity.system=B", False, False),
        ("dfinity.system=A", True, True),
        ("dfinity.system=AB quiet", False, True),
        ("quiet", False, True),
    ],
)
def test_what_a_running_host_needs_is_not_removed(
    stage: Stage, words: str, in_chroot: bool, removed: bool
) -> None:
    stage.tell_kernel(words)
    stage.play("ischroot", f"exit {0 if in_chroot else 1}")
    done = stage.run("sh", SCRIPTS / "abctl-host/prerm", "remove")
    assert (done.returncode == 0) is removed
    assert ("runs from a slot set" in done.stderr) is not removed
    # An upgrade goes on, and so does who means it.
    assert stage.run("sh", SCRIPTS / "abctl-host/prerm", "upgrade", "2").returncode == 0
    stage.write("run/abctl/remove", "")
    assert stage.run("sh", SCRIPTS / "abctl-host/prerm", "remove").returncode == 0


# --- the default configuration ----------------------------------------------------------------------


def test_the_default_configuration_changes_nothing_and_names_every_field() -> None:
    text = (SCRIPTS / "abctl/config.toml").read_text()
    assert parse_config(text, "config.toml") == Config()
    stated = re.sub(r"^# (?=\w+ = )", "", text, flags=re.M)
    values = tomllib.loads(stated)
    assert {name: set(fields) for name, fields in values.items()} == {
        name: set(type(getattr(Config(), name)).model_fields) for name in Config.model_fields
    }
    parse_config(stated, "config.toml")
    defaults = Config().model_dump(mode="json")
    for line in re.findall(r"^# (\w+ = .*)$", text, re.M):
        if "example" not in line:
            ((key, value),) = tomllib.loads(line).items()
            assert value in [fields[key] for fields in defaults.values() if key in fields], line


# --- the wheel --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    make("wheel", folder)
    (found,) = folder.glob("*.whl")
    return found


def test_a_wheel_has_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {str(path.relative_to(TREE)) for path in (TREE / "abctl").rglob("*") if path.is_file()}
    assert {path for path in package if "__pycache__" not in path} <= names
    for name in DATA:
        data = {str(path.relative_to(TREE)) for path in (TREE / name).rglob("*") if path.is_file()}
        assert data
        assert {f"{wheel.name.partition('-py3')[0]}.data/data/share/abctl/{path}" for path in data} <= names


def test_the_lists_name_the_wheel_and_every_requirement_with_its_hash(wheel: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lines = (wheel.parent / "requirements.txt").read_text().splitlines()
    assert lines[0] == f"./{wheel.name} --hash=sha256:{digest}"
    assert lines[1:] == (TREE / "requirements.txt").read_text().splitlines()
    tools = (wheel.parent / "build-tools.txt").read_text()
    assert re.findall(r"^(\w+)==", tools, re.M) == ["packaging", "setuptools", "wheel"]
    make("wheel", tmp_path)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_an_installed_wheel_works_with_its_own_files(wheel: Path, tmp_path: Path) -> None:
    """In a new environment; what abctl needs beside itself is looked up where the tests have it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    (here,) = {path for path in map(Path, sys.path) if path.name == "site-packages"}
    (packages / "needed.pth").write_text(f"{here}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    release = make_release(tmp_path / "release", "1.0.0")
    shutil.copy(release.manifest, tmp_path)
    abctl = (tmp_path / "venv/bin/abctl",)
    subprocess.run(
        [
            *(*abctl, "disk", "create", "host.img", "--layout", "hostos-small", "--quiet"),
            *("--release", "release", "--sha256", release.manifest_sha256),
        ],
        cwd=tmp_path,
        check=True,
    )
    said = subprocess.run(
        [*abctl, "--disk", "host.img", "status"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert "1.0.0" in said.stdout
    where = "import abctl.host.data as data; print(data.__file__); print(data.find_data('schemas'))"
    places = subprocess.run([python, "-I", "-c", where], capture_output=True, text=True, check=True).stdout
    assert [line.startswith(f"{tmp_path}/venv/") for line in places.splitlines()] == [True, True]
