"""The parts of the lab that need no machine: what it reads off a console, its server, its edits of images."""

import json
import subprocess
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path

from abctl.host.bootstrap import read_recipe
from abctl.vm.description import parse_description
from tests.lab.console import Line
from tests.lab.events import Phase, Story
from tests.lab.ext4 import Garble, Link, Put, Remove, edit_image, read_from_image
from tests.lab.hypervisor import HYPERVISOR
from tests.lab.prepare import RECIPE
from tests.lab.report import render_table
from tests.lab.server import serve
from tests.lab.timeline import draw_timeline
from tests.releases import make_ext4

_CONSOLE = """\
2.0 Welcome to GRUB!
6.0 [    0.000000] Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)
6.1 [    0.000000] Command line: BOOT_IMAGE=(lvm/hostlvm-B_boot)/vmlinuz dfinity.system=B abctl.why=trial
20.0 Loading, please wait...
30.0 [   24.000000] systemd[1]: systemd 252.39-1 running in system mode (+PAM)
41.0 [   35.000000] Kernel panic - not syncing: Attempted to kill init!
"""


def told_story() -> Story:
    story = Story()
    story.begin(0.0, "power on")
    for row in _CONSOLE.splitlines():
        at, _, text = row.partition(" ")
        story.read(Line(float(at), text))
    story.begin(51.0, "reset")
    story.note(60.0, "confirmed")
    story.off(70.0, "power cut")
    return story


def test_the_recipe_of_a_hypervisor_brings_all_that_its_guest_is_started_with(tmp_path: Path) -> None:
    plain, recipe = read_recipe(RECIPE), read_recipe(HYPERVISOR.find_recipe(tmp_path))
    assert set(plain.packages) < set(recipe.packages)
    assert recipe.overlay
    overlay = tmp_path / recipe.overlay
    assert (overlay / "usr/lib/lab/shell").stat().st_mode & 0o111
    description = parse_description((overlay / "etc/abctl/guest.toml").read_text(), "guest.toml")
    for path in (description.boot.kernel, description.boot.initrd):
        assert path
        assert (overlay / path.lstrip("/")).stat().st_size > 0


def test_the_story_of_a_console_has_boots_phases_and_what_grub_chose() -> None:
    story = told_story()
    first, second = story.boots
    assert (first.name, second.name, story.names) == ("B trial", "-", ["B trial"])
    assert list(first.phases) == list(Phase)[1:]
    assert (first.phases[Phase.KERNEL], first.ended, first.how) == (6.0, 51.0, "reset")
    assert [mark.what for mark in first.marks] == ["panic"]
    assert (second.ended, second.how) == (70.0, "power cut")


def test_the_picture_is_svg_and_the_table_has_a_row_for_each_boot(tmp_path: Path) -> None:
    story = told_story()
    ET.fromstring(draw_timeline("a <scenario>", story, 71.0))
    work = {"work in the guest": 2.0, "work on a host": 0.2}
    story.boots[1].cpu = {"abctl-health.service": 0.5, "all": 10.0, **work}
    story.write(tmp_path / "events.json", "scenario")
    rows = render_table([json.loads((tmp_path / "events.json").read_text())]).splitlines()
    assert rows[1].split() == ["scenario", "B", "trial", "6.0", "30.0"]
    assert rows[2].split() == ["scenario", "-", "9.0", "10.0", "0.5", "0.05"]


def test_the_server_gives_ranges_and_nothing_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/image").write_bytes(bytes(range(200)))
    (tmp_path / "secret").write_text("no")

    def get(path: str, span: str | None = None) -> tuple[int, bytes]:
        headers = {"Range": f"bytes={span}"} if span else {}
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""

    with serve(tmp_path / "files") as server:
        assert get("image") == (200, bytes(range(200)))
        assert get("image", "10-19") == (206, bytes(range(10, 20)))
        assert get("image", "190-") == (206, bytes(range(190, 200)))
        assert get("image", "200-")[0] == 416
        assert get("%2e%2e/secret")[0] == 404
        assert server.sent == 220


def test_edits_of_an_image_are_done_and_leave_a_sound_file_system(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "vmlinuz").write_bytes(b"kernel")
    (tree / "initrd.img").write_bytes(b"initrd" * 4000)
    image = make_ext4(tmp_path / "image", tree, 8 * 1024 * 1024, "image")
    edit_image(
        image, Remove("/vmlinuz"), Garble("/initrd.img"), Put("/etc/new/file", b"text", 0o755),
        Link("/etc/new/link", "file"),
    )  # fmt: skip
    assert read_from_image(image, "/etc/new/file") == b"text"
    inode = subprocess.run(
        ["debugfs", "-R", "stat /etc/new/file", image], capture_output=True, text=True, check=True
    )
    assert "Mode:  0755" in inode.stdout
    garbled = read_from_image(image, "/initrd.img")
    assert (len(garbled), garbled[:6], garbled[12000:12006]) == (24000, b"initrd", bytes(6))
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
