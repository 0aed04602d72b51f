"""Run the commands of docs/tutorial.md, and compare what they print with what the page shows.

python -m tests.tutorial           runs them, and writes into the page what they print now
python -m tests.tutorial --check   runs them, and names each command that prints something else

The commands of all ``console`` blocks are typed into one shell, one after the other, as a newcomer would do
it; the shell's home is a fresh folder. The page says what is another each time: see ``_VARYING``.
"""

import difflib
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/tutorial.md"
_PROMPT = "$ "
_ELSEWHERE = ("make setup",)  # tests/fresh runs it in a clean tree; here it might replace the .venv that runs
_TIME_LIMIT = 60.0  # seconds for one command
_BEGIN, _END = "```console", "```"
_HOME = "/root"  # as the page has it
# What is another each time: dates, digests, key ids, how long it took, sizes of what was packed, processes,
# and the UUIDs that LVM gives.
_VARYING = (
    (r"\d{4}-\d\d-\d\d(\s\d\d:\d\d(:\d\d)?(\sUTC)?)?", "DATE"),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "DIGEST"),
    (r"\b\d+(\.\d+)? s\b", "SECONDS"),
    (r"\b\d+(\.\d+)? (bytes|[KMG]iB)", "SIZE"),
    (r"\bpid\s\d+|kill\s-CONT\s\d+", "PROCESS"),
    (r"\b\w{6}(-\w{4}){5}-\w{6}\b", "UUID"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the page; ``output`` is what the page shows below it, from line ``start`` to ``end``."""

    section: str
    command: str
    output: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Done:
    """A command as it ran."""

    step: Step
    output: str

    @property
    def is_as_shown(self) -> bool:
        return without_varying(self.output) == without_varying(self.step.output)

    @property
    def difference(self) -> str:
        """What differs, for people."""
        lines = difflib.unified_diff(
            self.step.output.splitlines(), self.output.splitlines(), "the page", "the command", lineterm=""
        )
        return "\n".join([f"{PAGE.name}, line {self.step.start}: $ {self.step.command}", *lines])


def without_varying(text: str) -> str:
    """Return text without what is another each time, nor where its lines break."""
    text = " ".join(text.split())
    for pattern, name in _VARYING:
        text = re.sub(pattern, name, text)
    return text


# --- the page ---------------------------------------------------------------------------------------


def read_steps(text: str) -> tuple[Step, ...]:
    """Return the commands of a page in order."""
    return tuple(_read_steps(text.split("\n")))


def _read_steps(lines: list[str]) -> Iterator[Step]:
    section, at = "", 0
    while at < len(lines):
        if lines[at].startswith("#"):
            section = lines[at].lstrip("# ")
        if lines[at] != _BEGIN:
            at += 1
            continue
        end = lines.index(_END, at)
        yield from _read_block(section, lines, at + 1, end)
        at = end + 1


def _read_block(section: str, lines: list[str], at: int, end: int) -> Iterator[Step]:
    while at < end:
        assert lines[at].startswith(_PROMPT), f"line {at + 1} of the page is no command: {lines[at]}"
        first = at
        while lines[at].endswith("\\"):
            at += 1
        command = "\n".join(lines[first : at + 1]).removeprefix(_PROMPT)
        start = at = at + 1
        while at < end and not lines[at].startswith(_PROMPT):
            at += 1
        yield Step(section, command, "\n".join(lines[start:at]), start, at)


def write_outputs(text: str, done: list[Done]) -> str:
    """Return the page with all that the commands printed now, as it is where only what varies differs."""
    if all(item.is_as_shown for item in done):
        return text
    lines = text.split("\n")
    for item in reversed(done):
        lines[item.step.start : item.step.end] = item.output.split("\n") if item.output else []
    return "\n".join(lines)


# --- the shell --------------------------------------------------------------------------------------


class Shell:
    """A shell into which commands are typed; a command may start another shell inside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # What a surrounding make or terminal says is not the newcomer's.
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self._process = subprocess.Popen(
            # Its network is its own, so that the page's port is free.
            ["unshare", "--net", "sh", "-c", "ip link set lo up; exec bash --noprofile --norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**inherited, "HOME": str(home), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    def type(self, command: str) -> str:
        """Return what a command prints, with the page's home; raise AssertionError where it does not end."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\nprintf '\\n@@end@@\\n'\n".encode())
        self._process.stdin.flush()
        said = self._read_until(b"\n@@end@@\n", command)
        return said.decode("utf-8", "replace").rstrip("\n").replace(str(self.home), _HOME)

    def _read_until(self, mark: bytes, command: str) -> bytes:
        assert self._process.stdout is not None
        said, until = b"", time.monotonic() + _TIME_LIMIT
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not said.endswith(mark):
                assert selector.select(max(0.0, until - time.monotonic())), f"it does not end: {command}"
                more = os.read(self._process.stdout.fileno(), 65536)
                assert more, f"the shell ended: {command}\n{said.decode('utf-8', 'replace')}"
                said += more
        return said.removesuffix(mark)

    def end(self) -> None:
        """End the shell, and what it may have left in the background."""
        os.killpg(self._process.pid, 9)
        self._process.communicate()


@contextmanager
def open_shell() -> Iterator[Shell]:
    """Yield a shell whose home is a fresh folder; nothing of it is left, not even a loop device."""
    with tempfile.TemporaryDirectory(prefix="abctl-tutorial-") as folder:
        shell = Shell(Path(folder))
        try:
            yield shell
        finally:
            shell.end()
            listed = ["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]
            said = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
            for device, image in (line.split(maxsplit=1) for line in said.splitlines()):
                if image.startswith(folder):
                    subprocess.run(["losetup", "--detach", device], check=True)


def run_page(text: str) -> list[Done]:
    """Type all commands of a page, save what is run elsewhere."""
    with open_shell() as shell:
        steps = (step for step in read_steps(text) if step.command not in _ELSEWHERE)
        return [Done(step, shell.type(step.command)) for step in steps]


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 where a command printed something else."""
    text = PAGE.read_text()
    done = run_page(text)
    if arguments != ["--check"]:
        PAGE.write_text(write_outputs(text, done))
        return 0
    differing = [item for item in done if not item.is_as_shown]
    for item in differing:
        print(item.difference, file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
