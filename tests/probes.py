"""What a confined process tries that it must not be able to do, and tasks for the one that checks."""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from abctl.errors import BadMetadata, SourceNotFound
from abctl.host.confine import confine
from abctl.host.seccomp import Need
from abctl.ports import Source

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NAMESPACE = 0x00020000
_ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm", "/")  # some of which everybody may write to


def _call(name: str, *arguments: object) -> Callable[[], None]:
    def call() -> None:
        if getattr(_LIBC, name)(*arguments) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return call


def _write_somewhere() -> None:
    for folder in _ELSEWHERE:
        for flags in (os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_TMPFILE, os.O_CREAT):
            with suppress(OSError):
                os.open(folder if flags & os.O_TMPFILE else f"{folder}/abctl-probe", flags)
                return
    os.open("/dev/null", os.O_WRONLY)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _send_anywhere() -> None:
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"", "/run/systemd/journal/dev-log")


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def _probes(port: int) -> dict[str, Callable[[], object]]:
    return {
        "read a secret": lambda: Path("/etc/shadow").open("rb"),
        "read what everybody may": lambda: Path("/etc/passwd").read_bytes(),
        "write a file": _write_somewhere,
        "make a folder": lambda: Path("/tmp/abctl-probe-folder").mkdir(),
        "make a link": lambda: Path("/tmp/abctl-probe-link").symlink_to("x"),
        "remove a file": lambda: Path("/tmp/abctl-probe-link").unlink(),
        "keep a file in memory": lambda: os.memfd_create("x"),
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "fork": _fork,
        "start a thread": lambda: threading.Thread(target=time.time).start(),
        "connect": lambda: _connect(port),
        "open a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "send anywhere": _send_anywhere,
        "kill its parent": lambda: os.kill(os.getppid(), 0),
        "become root": lambda: os.setuid(0),
        "mount": _call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
        "leave its namespace": _call("unshare", _NEW_NAMESPACE),
        "trace another": _call("ptrace", 16, os.getppid(), None, None),
        "outlive its parent": _call("prctl", 1, 0, 0, 0, 0),
        "open more files": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9999, 9999)),
    }


def try_all(port: int, names: Sequence[str] = ()) -> dict[str, str]:
    """Return how each attempt ended: the name of the error, or "done"."""
    return {name: _try(attempt) for name, attempt in _probes(port).items() if not names or name in names}


def _try(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "OSError")
    except ValueError:
        return "EPERM"  # as setrlimit has it
    return "done"


def look_at_itself() -> dict[str, list[str]]:
    """Return what the kernel says of this process."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}


# --- tasks of abctl.host.checked --------------------------------------------------------------------


def probe(_source: Source, argument: bytes) -> bytes:
    # The status is of root's since it may not be dumped; it can be read by all the same.
    return json.dumps({"status": look_at_itself(), "tried": try_all(int(argument))}).encode()


def echo(source: Source, argument: bytes) -> bytes:
    """Return the argument, and all files whose names are its lines."""
    buffer = memoryview(bytearray(1 << 20))
    found = bytearray(argument)
    for name in argument.decode().split():
        with source.open(name, 1, 2) as reader:
            found += b"|" + buffer[: reader.readinto(buffer)]
    return bytes(found) + f"|{source.place}|{source.is_local}|{source.has_ranges}".encode()


def leave_early(source: Source, argument: bytes) -> bytes:
    """Open a large file again and again, and read little of it."""
    buffer = memoryview(bytearray(10))
    for _ in range(3):
        with source.open(argument.decode()) as reader:
            reader.readinto(buffer)
    return bytes(buffer)


def look_for(source: Source, argument: bytes) -> bytes:
    try:
        with source.open(argument.decode()):
            return b"there"
    except SourceNotFound as error:
        return str(error).encode()


def refuse(_source: Source, _argument: bytes) -> bytes:
    raise BadMetadata("it is \x1b[31mnot sound")


def be_wrong(_source: Source, _argument: bytes) -> bytes:
    raise KeyError("oops")


def return_much(_source: Source, argument: bytes) -> bytes:
    return bytes(int(argument))


def die(_source: Source, _argument: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def ask_for_nonsense(source: Source, argument: bytes) -> bytes:
    """Send the argument where this side would ask for a file, in spite of its own checks."""
    control = source.call.__self__._control  # type: ignore[attr-defined]
    control.send(argument)
    time.sleep(60)
    return b""


if __name__ == "__main__":
    needs = Need(int(sys.argv[1]))
    done = str(confine(needs, os.getppid()))
    print(json.dumps({"report": done, "groups": os.getgroups(), "tried": try_all(int(sys.argv[2]))}))
