"""System calls that a confined process may not make, by the system's libseccomp.

What is not named is allowed: the C library may use other calls on the next system, and a host that can no
longer be upgraded is worse than a gap that rights, which are gone as well, close a second time.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterable
from enum import Flag, auto

_LIBRARY = "libseccomp.so.2"
_ALLOW = 0x7FFF0000
_FAIL_WITH = 0x00050000
_BY_NAME_UNKNOWN = -1
_ALL_THREADS, _AS_A_TREE = 4, 8  # SCMP_FLTATR_CTL_TSYNC, SCMP_FLTATR_CTL_OPTIMIZE
_NOT, _EQUAL, _ABOVE, _MASKED = 1, 4, 6, 7  # enum scmp_compare
_CLONE_THREAD = 0x00010000
_O_TMPFILE = 0o20000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_INT = 0xFFFFFFFF  # the kernel looks at no more of an int


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PROGRAMS = ("execve", "execveat", "fork", "vfork", "uselib", "personality", "modify_ldt")
_OTHERS = _words(
    """
    kcmp pidfd_getfd pidfd_open pidfd_send_signal process_madvise process_mrelease process_vm_readv
    process_vm_writev ptrace rt_sigqueueinfo rt_tgsigqueueinfo tkill
    """
)
_KERNEL = _words(
    """
    acct add_key adjtimex bpf clock_adjtime clock_settime delete_module fanotify_init finit_module
    init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kexec_file_load kexec_load
    keyctl lookup_dcookie memfd_create memfd_secret perf_event_open quotactl quotactl_fd reboot
    request_key setdomainname sethostname settimeofday swapoff swapon syslog userfaultfd vhangup
    """
)
_MOUNTS = _words(
    """
    chroot fsconfig fsmount fsopen fspick listmount mount mount_setattr move_mount name_to_handle_at
    open_by_handle_at open_tree open_tree_attr pivot_root setns statmount umount umount2 unshare
    """
)
_FILES = _words(
    """
    chmod chown creat fallocate fchmod fchmodat fchmodat2 fchown fchownat file_setattr fremovexattr
    fsetxattr ftruncate futimesat lchown link linkat lremovexattr lsetxattr mkdir mkdirat mknod mknodat
    mq_open mq_unlink msgget removexattr removexattrat rename renameat renameat2 rmdir semget setxattr
    setxattrat shmat shmget symlink symlinkat truncate unlink unlinkat utime utimensat utimes
    """
)
_NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4")
_OPEN = ("open", "openat", "openat2")


class Need(Flag):
    """What a confined process still has to do."""

    NOTHING = 0
    NETWORK = auto()
    READ_FILES = auto()  # those that everybody may read


class _Compare(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Filter:
    """One filter that is being put together; calls that this kernel or library does not know are left out."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._context = library.seccomp_init(_ALLOW)
        if not self._context:
            raise OSError(errno.ENOMEM, "no filter can be made")
        self._set(_ALL_THREADS, 1)
        # Of older libraries the second only costs time.
        library.seccomp_attr_set(self._context, _AS_A_TREE, 2)

    def _set(self, attribute: int, value: int) -> None:
        self._check(self._library.seccomp_attr_set(self._context, attribute, value))

    def refuse(self, names: Iterable[str], code: int = errno.EPERM) -> None:
        for name in names:
            self.refuse_where(name, code=code)

    def refuse_where(self, name: str, *compares: _Compare, code: int = errno.EPERM) -> None:
        """Refuse the call where all ``compares`` hold for its arguments."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number == _BY_NAME_UNKNOWN:
            return
        array = (_Compare * len(compares))(*compares)
        self._check(
            self._library.seccomp_rule_add_array(
                self._context, _FAIL_WITH | code, number, len(compares), array
            )
        )

    def load(self) -> None:
        """Put the filter into force, in all threads and for good; raise OSError where the kernel refuses."""
        self._check(self._library.seccomp_load(self._context))

    def release(self) -> None:
        self._library.seccomp_release(self._context)

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(-result, os.strerror(-result))


def restrict_calls(need: Need) -> None:
    """Refuse all calls of this process that it has no ``need`` for; raise OSError where that cannot be."""
    rules = _Filter(_load())
    try:
        rules.refuse((*_PROGRAMS, *_OTHERS, *_KERNEL, *_MOUNTS, *_FILES))
        _refuse_processes(rules)
        _refuse_files(rules, need)
        _refuse_sockets(rules, need)
        for request in (_TIOCSTI, _TIOCLINUX):  # they type into a terminal
            rules.refuse_where("ioctl", _masked(1, _INT, request))
        rules.load()
    finally:
        rules.release()


def _refuse_processes(rules: _Filter) -> None:
    rules.refuse_where("clone", _masked(0, _CLONE_THREAD, 0))
    # Its flags are out of a filter's sight; without it the C library takes clone.
    rules.refuse(("clone3",), errno.ENOSYS)
    for name in ("kill", "tgkill"):
        rules.refuse_where(name, _Compare(0, _NOT, os.getpid()))
    # What was set may not be taken back.
    for option in (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE):
        rules.refuse_where("prctl", _masked(0, _INT, option))


def _refuse_files(rules: _Filter, need: Need) -> None:
    if Need.READ_FILES not in need:
        rules.refuse(_OPEN)
        return
    rules.refuse(("openat2",), errno.ENOSYS)
    for name, flags in (("open", 1), ("openat", 2)):
        for mode in (os.O_WRONLY, os.O_RDWR, os.O_ACCMODE):
            rules.refuse_where(name, _masked(flags, os.O_ACCMODE, mode))
        for flag in (os.O_CREAT, os.O_TRUNC, _O_TMPFILE):
            rules.refuse_where(name, _masked(flags, flag, flag))


def _refuse_sockets(rules: _Filter, need: Need) -> None:
    rules.refuse(("socketpair",))  # one of datagrams could send to any address
    if Need.NETWORK not in need:
        rules.refuse(_NETWORK)
        return
    rules.refuse(("bind", "listen", "accept", "accept4"))
    rules.refuse_where("socket", _Compare(0, _ABOVE, socket.AF_INET6), code=errno.EAFNOSUPPORT)
    for family in set(range(socket.AF_INET6)) - {socket.AF_UNIX, socket.AF_INET}:
        rules.refuse_where("socket", _Compare(0, _EQUAL, family), code=errno.EAFNOSUPPORT)


def _masked(argument: int, mask: int, value: int) -> _Compare:
    return _Compare(argument, _MASKED, mask, value)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY, use_errno=True)
    context = ctypes.c_void_p
    for name, result, *arguments in (
        ("seccomp_init", context, ctypes.c_uint32),
        ("seccomp_release", None, context),
        ("seccomp_attr_set", ctypes.c_int, context, ctypes.c_int, ctypes.c_uint32),
        ("seccomp_syscall_resolve_name", ctypes.c_int, ctypes.c_char_p),
        (
            "seccomp_rule_add_array",
            ctypes.c_int,
            context,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.POINTER(_Compare),
        ),
        ("seccomp_load", ctypes.c_int, context),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
