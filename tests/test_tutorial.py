"""The tutorial is what its commands do: each is run, and prints what the page shows."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.disks import needs_loop, run
from tests.tutorial import PAGE, Done, Step, open_shell, read_steps, run_page, without_varying, write_outputs

LOOKS = (" status", " explain", " doctor")


@dataclass(frozen=True)
class Damage:
    """What a section of the appendix does: each look has to say the ``cause``, and advise this command."""

    section: str
    cause: str
    advised: str | None = None


DAMAGES = (
    Damage("A destroyed boot environment", "boot environment is lost", "doctor --repair"),
    Damage("A wrong grub.cfg", "grub.cfg is", "adopt"),
    Damage("A removed logical volume", "no logical volume B_root", "doctor --repair"),
    Damage("Expired metadata", "timestamp metadata expired", "check"),
    # What sets the clock of the machine that runs the tests is not typed.
    Damage("A wrong clock", "the clock is behind"),
    Damage("A full config volume", "/core.dump takes", "debugfs -w -R 'rm /core.dump'"),
    Damage("A primary without a kernel", "no kernel", "rollback"),
    Damage("A stale lock", "was stopped in the middle", "kill -CONT"),
    Damage("A half-finished upgrade", "was started and has not come to its end", "upgrade"),
)
FIREWALL = "A drifted firewall"  # of which a disk says nothing


@needs_loop
@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on an idle machine
def test_every_command_of_the_page_prints_what_the_page_shows() -> None:
    done = run_page(PAGE.read_text())
    differing = [item.difference for item in done if not item.is_as_shown]
    assert not differing, "\n".join([*differing, "to write the page anew: python -m tests.tutorial"])


# --- what the page shows ----------------------------------------------------------------------------


def read_section(name: str) -> list[Step]:
    return [step for step in read_steps(PAGE.read_text()) if step.section == name]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.section)
def test_each_look_names_the_damage_and_the_command_that_is_typed_then(damage: Damage) -> None:
    steps = [step for step in read_section(damage.section) if not step.command.startswith("until ")]
    for look in LOOKS:
        said = next(step.output for step in steps if f"{look} " in f"{step.command} ")
        assert damage.cause in " ".join(said.split()), look
    doctor = next(at for at, step in enumerate(steps) if step.command.endswith(" doctor"))
    if damage.advised:
        assert damage.advised in steps[doctor].output
        assert any(damage.advised in step.command for step in steps[doctor + 1 :])


@pytest.mark.parametrize("section", [*(damage.section for damage in DAMAGES), FIREWALL])
def test_after_each_damage_all_is_well_again(section: str) -> None:
    *_, last = (step.output for step in read_section(section) if step.output)
    assert last.startswith(("OK ", "All ", "SAME ", "GRUB boots slot set A, the primary"))


def test_the_appendix_has_ten_kinds_of_damage() -> None:
    sections = dict.fromkeys(step.section for step in read_steps(PAGE.read_text()))
    assert {damage.section for damage in DAMAGES} | {FIREWALL} <= set(sections)
    assert len(DAMAGES) + 1 == 10


# --- the shell --------------------------------------------------------------------------------------


@needs_loop
def test_a_page_that_breaks_off_leaves_no_loop_device_and_no_folder() -> None:
    with open_shell() as shell:
        shell.type("cd; head -c 1M /dev/zero > image")
        device = shell.type("losetup --find --show image")
        home = Path(shell.type("readlink -f /proc/$$/cwd").replace("/root", str(shell.home)))
        assert "/image" in run("losetup", "--list", device)
    assert not home.exists()
    assert device not in run("losetup", "--list")


@needs_loop
def test_a_shell_inside_goes_on_with_what_is_typed_and_gives_back() -> None:
    with open_shell() as shell:
        assert shell.type("word=outer; bash") == ""
        assert shell.type('echo "[$word]"') == "[]"
        assert shell.type("exit") == ""
        assert shell.type('echo "[$word]"; false') == "[outer]"


# --- how the page is read and written ---------------------------------------------------------------

TEXT = """# A page

## One

```console
$ first \\
  --long
was 2 KiB
$ second
```

## Two

```
$ not run
```

```console
$ third
```
"""


def test_commands_are_read_with_their_lines_and_what_is_shown() -> None:
    steps = read_steps(TEXT)
    assert [(step.section, step.command, step.output) for step in steps] == [
        ("One", "first \\\n  --long", "was 2 KiB"),
        ("One", "second", ""),
        ("Two", "third", ""),
    ]


def test_a_page_is_written_whole_where_one_command_says_something_else() -> None:
    first, second, third = read_steps(TEXT)
    same = [Done(first, "was 3 KiB"), Done(second, ""), Done(third, "")]
    assert write_outputs(TEXT, same) == TEXT
    done = [Done(first, "was 3 KiB"), Done(second, "new\nlines"), Done(third, "")]
    expected = TEXT.replace("was 2 KiB", "was 3 KiB").replace("$ second\n", "$ second\nnew\nlines\n")
    assert write_outputs(TEXT, done) == expected
    gone = [Done(first, ""), Done(second, ""), Done(third, "")]
    assert write_outputs(TEXT, gone) == TEXT.replace("was 2 KiB\n", "")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("since 2026-11-27 01:02:11 UTC", "since 2027-01-01 11:59:59 UTC", True),
        ("written in 0.7\n  s).", "written in 12 s).", True),
        ("(pid 28702, since", "(pid\n 7, since", True),
        (
            "B_root is h2PnMm-7wRq-ULEK-4L5c-3jCW-EL2B-QKUesw",
            "B_root is " + "-".join(["yDoPjf", *["8OtB"] * 5, "a5zcVZ"]),
            True,
        ),
        ("Key id     " + "0" * 64, "Key id     " + "f" * 64, True),
        ("A (3.0.1)", "A (3.0.0)", False),
        ("2 attempts left", "1 attempts left", False),
        ("OK         Slot set A", "ATTENTION  Slot set A", False),
    ],
)
def test_only_what_the_page_names_may_be_another_each_time(shown: str, printed: str, same: bool) -> None:
    assert (without_varying(shown) == without_varying(printed)) is same
    step = Step("", "command", shown, 1, 2)
    assert Done(step, printed).is_as_shown is same
    assert same or "-" + shown.splitlines()[0] in Done(step, printed).difference
