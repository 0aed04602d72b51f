"""What TAB offers, in a real bash with the shipped script; and the man pages that are made from the help."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from abctl.core.record import Entry, Happened, Record, Refusal
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.host.disk import open_disk
from tests import manual
from tests.disks import GUEST, copy_of, record_of
from tests.host_files import FILES
from tests.test_cli import ABCTL

SCRIPT = FILES / "usr/share/bash-completion/completions/abctl"
COMPLETE = """\
source {script}
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_abctl {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def press_tab(*words: str | Path) -> list[str]:
    """Return what bash offers for the last of ``words``; a word on standard error fails the test."""
    quoted = " ".join(shlex.quote(str(word)) for word in ("abctl", *words))
    text = COMPLETE.format(script=SCRIPT, words=quoted, program=ABCTL)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk that had 1.0.0 and 2.0.0, and refuses the latter."""
    path = copy_of(GUEST, tmp_path)
    record = Record(serial=1).with_refusal(
        Refusal(Seconds(1), Version("2.0.0"), None, "its network, it never came")
    )
    for version in ("1.0.0", "2.0.0"):
        record = record.with_entry(Entry(Seconds(1), Happened.INSTALLED, SlotName.A, Version(version)))
    record_of(open_disk(path)).write(record)
    return path


@pytest.mark.slow
def test_commands_of_lazily_loaded_groups_are_offered() -> None:
    assert {"status", "doctor", "explain"} <= set(press_tab(""))
    assert press_tab("stat") == ["status"]
    assert press_tab("disk", "sh") == ["show"]
    assert press_tab("disk", "create", "--lay") == ["--layout"]
    assert press_tab("release", "keys", "n") == ["new"]
    assert press_tab("mark-bad", "") == ["A", "B"]
    assert press_tab("--booted", "b") == ["B"]


@pytest.mark.slow
def test_versions_that_the_host_knows_are_offered(image: Path) -> None:
    assert press_tab("--disk", image, "allow", "") == ["2.0.0"]
    assert press_tab("--disk", image, "upgrade", "") == ["2.0.0", "1.0.0"]
    assert press_tab("--disk", image, "upgrade", "1") == ["1.0.0"]


@pytest.mark.slow
def test_where_nothing_can_be_looked_at_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    (tmp_path / "none.img").write_bytes(b"x")
    for disk in ("", "--disk none.img", "--disk missing.img --booted x"):
        words = disk.replace("--disk ", f"--disk {tmp_path}/").split()
        assert press_tab(*words, "allow", "") == []
        assert press_tab(*words, "upgrade", "") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "shell", "word", "answer"),
    [
        ("zsh/vendor-completions/_abctl", "zsh", "2", ["plain", "A", "_", "plain", "B", "_"]),
        ("fish/vendor_completions.d/abctl.fish", "fish", "", ["plain,A", "plain,B"]),
    ],
)
def test_what_the_other_scripts_ask_is_answered(
    script: str, shell: str, word: str, answer: list[str]
) -> None:
    """These shells may not be here; what their scripts run is."""
    assert f"_ABCTL_COMPLETE={shell}_complete" in (FILES / "usr/share" / script).read_text()
    words = {"COMP_WORDS": "abctl mark-bad", "COMP_CWORD": word, "_ABCTL_COMPLETE": f"{shell}_complete"}
    done = subprocess.run([ABCTL], env={**os.environ, **words}, capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout.split()) == ("", answer)


# --- man pages --------------------------------------------------------------------------------------


def test_each_command_has_a_page_that_names_its_options() -> None:
    pages = {path.name: text for path, text in manual.make_pages().items()}
    assert {"abctl.1", "abctl-status.1", "abctl-disk-create.1", "abctl-release-keys-new.1"} <= set(pages)
    assert "\\fB\\-\\-no\\-reboot\\fR" in pages["abctl-upgrade.1"]
    assert "abctl upgrade 2.0.0 \\-\\-override wave" in pages["abctl-upgrade.1"].partition(".SH EXAMPLES")[2]
    assert "\\fB22\\fR" in pages["abctl.1"]


def test_no_line_of_the_help_becomes_an_order_of_roff() -> None:
    orders = (".TH", ".SH", ".PP", ".TP", ".B", ".nf", ".fi")
    for text in manual.make_pages().values():
        for line in text.splitlines():
            assert line.split()[0] in orders or not line.startswith((".", "'")), line
            assert "\b" not in line
