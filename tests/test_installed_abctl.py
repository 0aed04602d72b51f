"""abctl as it is put into an image: complete, by itself, and quick to start."""

import json
import marshal
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from abctl.build.abctl_tree import PYTHON_FOLDER
from tests.disks import run
from tests.trees import list_image, make_tree

pytestmark = pytest.mark.slow

ABCTL = (sys.executable, "-m", "abctl")
# Every module, so that no package that one of them needs is missing; only what is in the image is there.
_IMPORT_ALL = """\
import importlib, pkgutil, sys
sys.path[:] = [path for path in sys.path if "-packages" not in path]
sys.path.insert(0, sys.argv[1])
import abctl
for module in pkgutil.walk_packages(abctl.__path__, "abctl."):
    if module.name != "abctl.__main__":
        importlib.import_module(module.name)
assert all(not getattr(module, "__file__", None) or "-packages" not in module.__file__ for module in
           list(sys.modules.values()))
from importlib.metadata import version
print(version("abctl"))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in Root, copied out of the image."""
    folder = tmp_path_factory.mktemp("installed")
    tree = make_tree(folder / "tree")
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    shutil.copy(python, tree / "usr/bin")
    (tree / "usr/bin/python3").symlink_to(python.name)
    (tree / "usr/lib/x86_64-linux-gnu").mkdir()
    (tree / "usr/lib/x86_64-linux-gnu/libparted.so.2").touch()
    library = tree / "usr/lib/python3.11"
    library.mkdir()
    (library / "module.py").write_text("print({'a', 'b', 'c'})\nWORDS = 'x' in {'p', 'q', 'r', 's', 't'}\n")
    run(sys.executable, "-m", "compileall", "-q", str(library))
    (library / "broken.py").write_text("this is no Python")
    for name in ("made", "made2"):
        run(
            *(*ABCTL, "build", "image", "--tree", str(tree), "--version", "1.0.0", "--layout", "hostos"),
            *("--output", str(folder / name), "--quiet"),
        )
    out = folder / "root"
    out.mkdir()
    run("debugfs", "-R", f"rdump /usr {out}", str(folder / "made/root.img"))
    return out


def test_it_is_complete_by_itself(root: Path) -> None:
    said = run(sys.executable, "-I", "-S", "-c", _IMPORT_ALL, str(root / PYTHON_FOLDER))
    assert said.strip() == "0.1.0"


def test_the_launcher_and_its_workers_find_it(root: Path) -> None:
    """Where the launcher looks is fixed, so its path is changed for the test, and nothing else."""
    launcher = root / "usr/bin/abctl"
    assert launcher.stat().st_mode & 0o777 == 0o755
    assert launcher.read_text().startswith("#!/usr/bin/python3 -I\n")
    moved = launcher.read_text().replace(f"/{PYTHON_FOLDER}", f"{root}/{PYTHON_FOLDER}")
    said = run(sys.executable, "-I", "-S", "-c", f"import sys; sys.argv[1:] = ['--version']\n{moved}")
    assert said.strip().endswith("0.1.0")
    line = (
        (root / "usr/lib/python3/dist-packages/abctl.pth").read_text().replace("/usr/lib", f"{root}/usr/lib")
    )
    for module, found in (("abctl.core.units", True), ("json.tool", False)):
        program = f"import sys; sys.orig_argv[1:] = ['-I', '-m', '{module}']\n{line}\nprint(sys.path[0])"
        said = run(sys.executable, "-I", "-S", "-c", program)
        assert said.strip().endswith(PYTHON_FOLDER) is found, module


def test_every_module_is_compiled_for_where_it_lies_and_needs_no_date(root: Path) -> None:
    sources = [*(root / PYTHON_FOLDER / "abctl").rglob("*.py"), root / "usr/lib/python3.11/module.py"]
    for source in sources:
        data = (
            source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        ).read_bytes()
        assert int.from_bytes(data[4:8], "little") == 1, source  # counts without a look at the source
        code = marshal.loads(data[16:])
        assert isinstance(code, types.CodeType)
        assert code.co_filename == f"/{source.relative_to(root)}"
    assert not list((root / "usr/lib/python3.11/__pycache__").glob("broken*"))


def test_two_makings_give_the_same_bytes(root: Path) -> None:
    """Compiled files, and the order of files in a folder, differ where nothing is done about it."""
    made = [
        json.loads((root.parent / name / "release/manifest.json").read_text()) for name in ("made", "made2")
    ]
    assert made[0] == made[1]


def test_data_units_and_hooks_are_in_place_and_belong_to_root(root: Path) -> None:
    found = list_image(root.parent / "made/root.img")
    for path in (
        "usr/share/abctl/grub/grub.cfg",
        "usr/share/abctl/layout/hostos.toml",
        "usr/share/abctl/schemas/status.schema.json",
        "usr/lib/systemd/system/abctl-health.service",
        "usr/lib/systemd/system-generators/abctl-generator",
        "usr/share/initramfs-tools/hooks/abctl",
    ):
        node = found[path]
        assert (node.uid, node.gid, node.mode & 0o022) == (0, 0, 0), path
    assert found["usr/lib/systemd/system-generators/abctl-generator"].mode & 0o111
    assert not [path for path in found if path.startswith(f"{PYTHON_FOLDER}/abctl/files")]


def test_nothing_of_this_machine_is_in_it(root: Path) -> None:
    home = str(Path(__file__).resolve().parents[1])
    found = subprocess.run(["grep", "-rlF", home, str(root)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
