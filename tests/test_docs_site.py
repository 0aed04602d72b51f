"""The documentation as a site, its generated pages, and its pictures of the terminal."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks import needs_loop
from tests.generated import ROOT, find_stale
from tests.pages.__main__ import make_pages
from tests.pages.pictures import FOLDER, take_pictures

pytestmark = pytest.mark.slow

_LOADS = re.compile(
    r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(https?:)?//[^"]+"|@import|url\(["\']?(https?:)?//'
)
_TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")


def test_generated_pages_are_in_step_with_the_code() -> None:
    assert find_stale(make_pages()) == []


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for path in (*pages, *(tmp_path / "site").rglob("*.css")):
        text = re.sub(r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert [found[0] for found in _LOADS.finditer(text)] == [], path
    schema = tmp_path / "site/schemas/config.schema.json"
    assert schema.read_bytes() == (ROOT / "schemas/config.schema.json").read_bytes()


@needs_loop
def test_the_pictures_show_what_the_commands_print_now(tmp_path: Path) -> None:
    """Amounts, rates and durations are of the day they were taken; the progress is another each time."""
    taken = take_pictures(tmp_path)
    assert {f"{name}.svg" for name in taken} | {"state-machine.svg", "house.svg"} == {
        path.name for path in FOLDER.iterdir()
    }
    progress = taken.pop("upgrade")
    assert "writing root" in "".join(_TEXT.findall(progress))
    for name, picture in taken.items():
        kept = (FOLDER / f"{name}.svg").read_text("utf-8")
        assert _words(picture) == _words(kept), f"run 'make pictures': {name} is another"


def _words(picture: str) -> list[str]:
    text = " ".join(_TEXT.findall(picture))
    return re.sub(r"\d+(\.\d+)?( [KMG]iB)?", "0", text).split()
