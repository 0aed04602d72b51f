"""The shipped scripts by themselves, and the tool that runs them for `abctl rehearse`."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from abctl.core.bootenv import BootEnv, EnvFiles, Trial, Why
from abctl.core.command_line import parse_command_line
from abctl.core.envblock import make_block
from abctl.core.recipe import make_arguments_block
from abctl.core.slot import SlotName
from abctl.errors import ToolFailed
from abctl.host.data import find_data
from abctl.host.grub_emu import GrubEmu, power_on
from tests.states import files_of

A, B = SlotName.A, SlotName.B
SCRIPTS = sorted(find_data("grub").glob("*.cfg"))
TRIAL = files_of(BootEnv(A, Trial(B, 3), generation=5))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_grub_accepts_the_script(script: Path) -> None:
    subprocess.run(["grub-script-check", str(script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_condition_ends_with_a_space_and_a_bracket(script: Path) -> None:
    """Without the space GRUB compares with `A]`, and grub-script-check has no objection (D1)."""
    lines = [line for line in script.read_text().splitlines() if not line.lstrip().startswith("#")]
    glued = [line for line in lines if re.search(r"\[\S|[^\s\]]\](?!\S)", line)]
    assert glued == []


def test_a_kernel_is_told_all_that_abctl_wants_to_know() -> None:
    boot = power_on(TRIAL, slots_cfg="set root_A=/dev/mapper/a\nset root_B=/dev/mapper/b\n")
    assert boot.command_line == (
        "(hd0)/B/vmlinuz root=/dev/mapper/b ro panic=10 dfinity.system=B abctl.why=trial "
        "abctl.passed_over= abctl.generation=5 abctl.attempts=2"
    )


@pytest.mark.parametrize("kernels", [{A: True, B: True}, {A: False, B: True}, {A: True, B: False}])
def test_attempts_are_told_to_a_trial_alone(kernels: dict[SlotName, bool]) -> None:
    """The way out of a trial without a kernel is no boot of the trial."""
    boot = power_on(TRIAL, kernels)
    assert boot.attempts_left == (2 if kernels[B] else None)
    ended = files_of(BootEnv(A, Trial(B, 0), generation=5))
    assert power_on(ended, kernels).attempts_left is None


def boot_with(arguments: bytes) -> str:
    with GrubEmu(arguments=arguments) as grub:
        return grub.power_on(TRIAL).command_line


def test_a_release_adds_words_for_its_kernel_before_those_of_grub() -> None:
    line = boot_with(make_arguments_block("console=ttyS0,115200 quiet"))
    assert line.startswith("(hd0)/B/vmlinuz console=ttyS0,115200 quiet root=B_root ro panic=10 ")


def test_a_release_cannot_tell_another_slot_set_than_the_one_that_boots() -> None:
    line = boot_with(make_arguments_block("dfinity.system=A abctl.why=primary abctl.generation=9"))
    told = parse_command_line(line)
    assert (told.slot_set, told.why, told.generation, told.attempts) == (B, Why.TRIAL, 5, 2)


@pytest.mark.parametrize(
    "value", ["; reboot", "`halt`", "$(halt) ${prefix} $left", "}\nset slot=A\n{", "'\" \\", "(hd0)/*"]
)
def test_a_release_cannot_run_script_in_grub(value: str) -> None:
    boot = parse_command_line(boot_with(make_block({"kernel_arguments": value}, 1024)))
    assert (boot.slot_set, boot.why, boot.attempts) == (B, Why.TRIAL, 2)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"no block",
        make_block({}, 1024),
        make_block({"slot": "A", "why": "menu", "boot": "(hd0)/A", "system": "A_root"}, 1024),
        make_block({"attempts": "9", "attempts_left": "9"}, 1024),
    ],
)
def test_of_the_file_with_arguments_nothing_else_counts(block: bytes) -> None:
    assert boot_with(block) == (
        "(hd0)/B/vmlinuz root=B_root ro panic=10 dfinity.system=B abctl.why=trial abctl.passed_over= "
        "abctl.generation=5 abctl.attempts=2"
    )


@pytest.mark.parametrize("primary", [A, B])
@pytest.mark.parametrize("missing", ["state.cfg", "select.cfg"])
def test_without_one_of_the_scripts_some_slot_set_is_still_booted(
    tmp_path: Path, missing: str, primary: SlotName
) -> None:
    shutil.copytree(find_data("grub"), tmp_path / "grub")
    (tmp_path / "grub" / missing).unlink()
    for kernels in ({A: True, B: False}, {A: False, B: True}):
        with GrubEmu(scripts=tmp_path / "grub") as grub:
            boot = grub.power_on(files_of(BootEnv(primary)), kernels)
        assert boot.booted is (A if kernels[A] else B)


def test_a_block_cannot_set_what_the_scripts_work_with() -> None:
    evil = TRIAL.first or b""
    evil = evil.replace(b"####", b"prefix=(hd9)\nsaved=1\nslot=A\norigin=1\nleft=3\npause=9\n", 1)[:512]
    boot = power_on(EnvFiles(evil, evil, None))
    assert (boot.booted, boot.attempts) == (B, "2")


def test_without_any_kernel_grub_starts_over_and_never_waits_for_a_key() -> None:
    boot = power_on(TRIAL, {A: False, B: False})
    assert (boot.booted, boot.chosen, boot.second, boot.command_line) == (None, B, A, "")


# --- the tool ---------------------------------------------------------------------------------------


def test_the_copy_is_used_and_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert power_on(TRIAL).files != TRIAL
    assert list(tmp_path.iterdir()) == []


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Let only these programs be found: FAT tools, a shell, and ``scripts``."""
    for name in ("mkfs.fat", "mcopy", "sh"):
        (folder / name).symlink_to(shutil.which(name) or name)
    for name, script in scripts.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_missing_grub_emu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch)
    with pytest.raises(ToolFailed, match="the program grub-emu is not installed"):
        power_on(TRIAL)


def test_a_grub_emu_that_can_load_kernels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own `linux` would win over ours, and load a kernel on the machine that rehearses."""
    put_on_path(tmp_path, monkeypatch, grub_emu="echo Welcome to GRUB")
    with pytest.raises(ToolFailed, match="a 'linux' command of its own"):
        power_on(TRIAL)


def test_what_a_failed_grub_emu_said_is_told_without_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path, monkeypatch, grub_emu="echo broken >&2; exit 3")
    with pytest.raises(ToolFailed, match="grub-emu failed with exit code 3: broken"):
        power_on(TRIAL)
