"""GRUB's scripts on the mounted grub partition of a running host."""

from pathlib import Path

import pytest

from abctl.core.bootenv import BootEnv, decode
from abctl.core.slot import SlotName
from abctl.errors import NotAdopted, WriteFailed
from abctl.host.layouts import read_layout
from abctl.host.scripts import LiveGrubFiles, check_scripts, install_scripts

LAYOUT = read_layout("hostos")
OLDER = b"set timeout=1\n"


class CutAfter(LiveGrubFiles):
    """Power fails after so many files."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder)
        self.left = count

    def put(self, path: str, content: bytes) -> None:
        if not self.left:
            raise WriteFailed("power cut")
        self.left -= 1
        super().put(path, content)


@pytest.fixture
def grub(tmp_path: Path) -> Path:
    (tmp_path / "grub.cfg").write_bytes(OLDER)
    return tmp_path


def test_the_older_grub_cfg_is_kept_and_the_copies_say_where_the_host_stands(grub: Path) -> None:
    files = LiveGrubFiles(grub)
    with pytest.raises(NotAdopted, match="abctl adopt"):
        check_scripts(files)
    install_scripts(files, LAYOUT, BootEnv(SlotName.B))
    check_scripts(files)
    assert (grub / "grub.cfg.older").read_bytes() == OLDER
    for copy in ("env1/grubenv", "env2/grubenv"):
        assert decode((grub / copy).read_bytes()).primary is SlotName.B
    assert "hostlvm-B_boot" in (grub / "slots.cfg").read_text()


def test_the_scripts_are_brought_up_to_date_without_touching_the_state(grub: Path) -> None:
    files = LiveGrubFiles(grub)
    install_scripts(files, LAYOUT, BootEnv(SlotName.B))
    (grub / "select.cfg").write_text("# of an older abctl\n")
    (grub / "env1/grubenv").write_bytes(b"spent")
    install_scripts(files, LAYOUT, None)
    assert (grub / "select.cfg").read_text() != "# of an older abctl\n"
    assert (grub / "env1/grubenv").read_bytes() == b"spent"
    assert (grub / "grub.cfg.older").read_bytes() == OLDER


def test_a_cut_leaves_the_older_grub_cfg_or_all_of_the_new(grub: Path) -> None:
    for count in range(10):
        (grub / "grub.cfg").write_bytes(OLDER)
        try:
            install_scripts(CutAfter(grub, count), LAYOUT, BootEnv(SlotName.B))
        except WriteFailed:
            assert (grub / "grub.cfg").read_bytes() == OLDER
        else:
            check_scripts(LiveGrubFiles(grub))
            assert (grub / "select.cfg").exists()
            assert (grub / "env2/grubenv").exists()
            break
        for path in grub.rglob("*"):
            if path.is_file():
                path.unlink()
    else:
        pytest.fail("it never came to its end")


def test_a_grub_partition_that_cannot_be_written_is_named(grub: Path) -> None:
    (grub / "state.cfg").mkdir()
    with pytest.raises(WriteFailed, match=r"state\.cfg cannot be written"):
        install_scripts(LiveGrubFiles(grub), LAYOUT, None)
