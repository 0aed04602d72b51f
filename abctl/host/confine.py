"""Give up, for good, every right of this process that it needs no more."""

import contextlib
import ctypes
import json
import os
import pwd
import resource
import signal
from dataclasses import asdict, dataclass, fields

from abctl.core.units import GIB
from abctl.host.seccomp import Need, restrict_calls

USER = "abctl-fetch"
_NOBODY = 65534
_MEMORY_MAX = 2 * GIB  # of addresses: each thread takes some, used or not
_OPEN_FILES_MAX = 256  # one transfer has two
_CAPABILITIES_MAX = 64  # more than any kernel has; the version 3 of capset has room for these
_CAPABILITY_VERSION = 0x20080522
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_GET_SECCOMP = 1, 4, 21
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


@dataclass(frozen=True, slots=True)
class Confinement:
    """What took effect: the user that a process runs as, and what it can no longer do."""

    uid: int
    no_capabilities: bool
    no_new_privs: bool
    seccomp: bool

    def __str__(self) -> str:
        kept = [field.name for field in fields(self)[1:] if not getattr(self, field.name)]
        return f"runs as user {self.uid}" + (f", without: {', '.join(kept)}" if kept else ", fully confined")

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Confinement":
        """Return what a process says of itself, which has not read yet what is not to be believed."""
        return cls(**json.loads(data))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_CapabilitySets = ctypes.c_uint32 * 6  # effective, permitted and inheritable, twice


def confine(need: Need, parent: int | None, cpu_seconds: int | None = None) -> Confinement:
    """Give up all that is not in ``need``, and return what took effect.

    The process ends with the process ``parent``, if that is given. As root it becomes the user
    ``abctl-fetch``, or nobody; any other user it keeps. Raise OSError where a right that there was cannot
    be given up; without libseccomp, or where the kernel has no seccomp, it goes on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = _find_user()
    os.umask(0o077)
    os.chdir("/")
    if os.geteuid() == 0:
        for number in range(_CAPABILITIES_MAX):
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    _call(libc, "prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _call(libc, "capset", ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION, 0)), _CapabilitySets())
    _call(libc, "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(libc, "prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)  # others of the same user may not look into it
    if parent is not None:
        # After the change of the user, which takes it back.
        _call(libc, "prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            raise ProcessLookupError("the process that wants this is gone")
    _limit_resources(cpu_seconds)
    with contextlib.suppress(OSError):  # the report tells it
        restrict_calls(need)
    return _report(libc)


def _find_user() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return _NOBODY, _NOBODY
    return entry.pw_uid, entry.pw_gid


def _limit_resources(cpu_seconds: int | None) -> None:
    limits = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES_MAX,
        resource.RLIMIT_AS: _MEMORY_MAX,
    }
    if cpu_seconds is not None:
        limits[resource.RLIMIT_CPU] = cpu_seconds
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, most))


def _report(libc: ctypes.CDLL) -> Confinement:
    sets = _CapabilitySets()
    _call(libc, "capget", ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION, 0)), sets)
    return Confinement(
        uid=os.getuid(),
        no_capabilities=not any(sets),
        no_new_privs=libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        seccomp=libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) != 0,
    )


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
