"""The one door to other programs."""

import os
import subprocess

from abctl.errors import ToolFailed

# Messages are parsed and shown, so they are wanted in one language.
_ENVIRONMENT = {"LC_ALL": "C", "TERM": "dumb", "LVM_SUPPRESS_FD_WARNINGS": "1"}


def run(*command: str, stdin: str = "", timeout: float = 120) -> str:
    """Return what ``command`` prints; raise ToolFailed with what it said on stderr."""
    return run_bytes(*command, stdin=stdin.encode(), timeout=timeout).decode("utf-8", "replace")


def run_bytes(*command: str, stdin: bytes = b"", timeout: float = 120) -> bytes:
    """Like ``run``, for programs that print bytes."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **_ENVIRONMENT},
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolFailed(f"the program {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{command[0]} did not end within {timeout:.0f} s") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split()) or "no message"
        raise ToolFailed(f"{command[0]} failed with exit code {done.returncode}: {said[:500]}")
    return done.stdout
