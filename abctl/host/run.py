"""The one door to other programs."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from abctl.errors import ToolFailed

# Messages are parsed and shown, so they are wanted in one language.
_ENVIRONMENT = {"LC_ALL": "C", "TERM": "dumb", "LVM_SUPPRESS_FD_WARNINGS": "1"}
_SAID_MAX = 500  # characters
_START_MAX = 10.0  # seconds


def run(*command: str, stdin: str = "", timeout: float = 120) -> str:
    """Return what ``command`` prints; raise ToolFailed with what it said on stderr."""
    return run_bytes(*command, stdin=stdin.encode(), timeout=timeout).decode("utf-8", "replace")


def run_bytes(*command: str, stdin: bytes = b"", timeout: float = 120) -> bytes:
    """Like ``run``, for programs that print bytes."""
    return _run(command, stdin, timeout).stdout


def run_for_complaints(
    *command: str, stdin: bytes = b"", timeout: float = 120, environment: Mapping[str, str]
) -> str:
    """Like ``run``, and return what the program says on stderr though it does not fail."""
    return _run(command, stdin, timeout, environment).stderr.decode("utf-8", "replace")


def _run(
    command: Sequence[str], stdin: bytes, timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolFailed(f"the program {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{command[0]} did not end within {timeout:.0f} s") from error
    if done.returncode:
        said = _shorten(done.stderr.decode("utf-8", "replace")) or "no message"
        raise ToolFailed(f"{command[0]} failed with exit code {done.returncode}: {said}")
    return done


def _shorten(said: str) -> str:
    """Return in one line what a program marks as errors, as apt does, or else the end of what it says."""
    marked = [line for line in said.splitlines() if line.startswith("E: ")]
    line = " ".join("\n".join(marked or [said]).split())
    return line[:_SAID_MAX] if marked else line[-_SAID_MAX:]


def start_detached(*command: str) -> None:
    """Start a program that outlives this one, its session and its terminal; raise ToolFailed."""
    try:
        # setsid forks, so that nobody is left who has to wait for the program.
        subprocess.run(
            ("setsid", "--fork", *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            cwd="/",
            timeout=_START_MAX,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolFailed(f"{command[0]} cannot be started beside this program: {error}") from error


class Program:
    """A program that runs beside this one, in a session of its own: Ctrl-C does not reach it."""

    def __init__(self, *command: str, keep: int, environment: Mapping[str, str]) -> None:
        """Start it with the file descriptor ``keep`` and no other; raise ToolFailed."""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(keep,),
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise ToolFailed(f"{command[0]} cannot be started: {error.strerror}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, below zero for a signal; None where it still runs after ``seconds``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, seconds: float) -> None:
        """Wait for its end, and make it end where it does not after ``seconds``."""
        if self.wait(seconds) is None:
            self._process.kill()
            self._process.wait()
