"""The documentation leads nowhere wrong, and names what the code has."""

import re
from pathlib import Path
from typing import get_args

import pytest

from abctl.core.events import Event
from tests.commands_in_docs import find_fault, list_commands
from tests.generated import ROOT, find_stale, write_or_check
from tests.links import find_broken, list_pages
from tests.pages.machine import draw_machine
from tests.pages.terminal import Look, Screen

_ON_A_HOST = re.compile(r'"/?((?:run|etc|var/lib)/[\w./-]*abctl[\w./-]*)"')
_ON_THE_CONFIG_VOLUME = re.compile(r'PATH = "(abctl/[\w.-]+)"')


def test_no_link_leads_nowhere() -> None:
    assert find_broken(ROOT) == []


def test_broken_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text(
        "# One: the `first`\n\n[ok](b.md#two) [ok](#one-the-first)\n\n    [code](x)\n"
    )
    (tmp_path / "docs/b.md").write_text("## Two\n\n[no](c.md) [no](a.md#two), `[code](x)`, [a\nb](c.svg)\n")
    (tmp_path / "README.md").write_text("[ok](docs/a.md) [ok](https://example.org) ![no](docs/a.svg)\n")
    assert find_broken(tmp_path) == [
        "README.md: there is no docs/a.svg",
        "docs/b.md: there is no c.md",
        "docs/b.md: no heading of a.md makes #two",
        "docs/b.md: there is no c.svg",
    ]


def test_every_command_in_the_documentation_exists_with_its_options() -> None:
    pages = [page for page in list_pages(ROOT) if page.name != "commands.md"]  # it has the forms of all
    shown = [(page.name, command) for page in pages for command in list_commands(page)]
    assert len(shown) > 400
    assert [(*one, fault) for one in shown if (fault := find_fault(one[1]))] == []


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("abctl nope", "there is no command nope"),
        ("abctl release nope ./repo", "there is no command nope"),
        ("abctl --disk host.img upgrade --bogus 2.0.0", "No such option '--bogus'."),
        ("abctl --disk host.img upgrade 2.0.0 --override wave", None),
        ("abctl release publish|renew ./repo", None),
    ],
)
def test_a_wrong_command_in_the_documentation_is_named(command: str, fault: str | None) -> None:
    assert find_fault(command) == fault


def test_the_reference_names_every_file_that_the_code_does() -> None:
    page = (ROOT / "docs/reference/files.md").read_text()
    found = set()
    for path in (ROOT / "abctl").rglob("*.py"):
        text = path.read_text("utf-8")
        found |= {f"/{name}" for name in _ON_A_HOST.findall(text)}
        found |= set(_ON_THE_CONFIG_VOLUME.findall(text))
    assert {"/run/abctl/health.json", "abctl/record", "abctl/settings.good.json"} <= found
    assert {name for name in found if name.rstrip("/") not in page} == set()


def test_each_decision_has_a_title_with_its_number_and_what_follows() -> None:
    pages = sorted((ROOT / "docs/adr").glob("0*.md"))
    assert len(pages) >= 10
    for page in pages:
        lines = page.read_text("utf-8").splitlines()
        assert lines[0].startswith(f"# {int(page.name[:4])}. "), page
        assert next(line for line in lines if line.startswith("## ")) == "## Context", page
        assert {"## Decision", "## Consequences"} <= set(lines), page
    assert len({page.name[:4] for page in pages}) == len(pages)


def test_generated_files_are_named_written_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.generated.ROOT", tmp_path)
    wanted, stray = tmp_path / "new/a.md", tmp_path / "old.md"
    stray.write_text("")
    assert find_stale({wanted: "a"}, [stray]) == [wanted, stray]
    assert write_or_check({wanted: "a"}, "make x", ["--check"], [stray]) == 1
    assert "new/a.md is out of step with the code: run 'make x'" in capsys.readouterr().err
    assert write_or_check({wanted: "a"}, "make x", [], [stray]) == 0
    assert (wanted.read_text(), stray.exists()) == ("a", False)
    assert write_or_check({wanted: "a"}, "make x", ["--check"]) == 0


def test_no_event_is_left_out_of_the_state_machine() -> None:
    source = (ROOT / "tests/pages/graph.py").read_text()
    assert [kind.__name__ for kind in get_args(Event) if f"{kind.__name__}(" not in source] == []


def test_the_drawing_of_the_state_machine_needs_a_route_for_each_arrow() -> None:
    with pytest.raises(ValueError, match="GOOD -> EMPTY"):
        draw_machine(())


def test_the_terminal_draws_what_progress_sends() -> None:
    screen = Screen()
    screen.write("one\r\ntwo, and longer\r\n\x1b[?25l\x1b[1A\x1b[2K\x1b[1;31mnew\x1b[0m line\r\n")
    assert screen.lines == ["one", "new line", ""]
    red, plain = screen.rows[1][0][1], screen.rows[1][4][1]
    assert (red.bold, plain) == (True, Look())
    assert red.colour not in (plain.colour, Look(bold=True).colour)
    with pytest.raises(ValueError, match="does not know"):
        screen.write("\x1b[5J")
