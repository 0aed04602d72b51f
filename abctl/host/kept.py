"""Reading the files of fixed size on the config volume: what can be read of them counts."""

import errno
import logging

from abctl.core.halves import Content
from abctl.errors import AbctlError, WriteFailed
from abctl.host.block import ExtentVolume

log = logging.getLogger(__name__)


def read_halves(file: ExtentVolume, size: int) -> Content:
    """Return the first ``size`` bytes; each half is read by itself, so that the other one may fail."""
    half, data, problem = size // 2, b"", ""
    for start in (0, half):
        length = min(half, file.size - start)
        if length <= 0:
            break
        try:
            data += file.read(start, length)
        except WriteFailed as error:
            data += bytes(length)
            problem = say_why(error)
    return Content(data, problem)


def say_why(error: AbctlError | OSError) -> str:
    """Return the cause of a failed read alone: which file it was is said beside it."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if not isinstance(cause, OSError):
        return str(error)
    if cause.errno == errno.EIO:
        return "the disk reports an I/O error: have it replaced"
    return cause.strerror or str(cause)


def tell(content: Content, name: str, told: str) -> str:
    """Warn of what could not be read of the file ``name``, once; return the problem that is told now."""
    if content.problem == told and content.is_there:
        return told
    if not content.is_there:
        log.info("%s is missing", name)
    elif content.problem and content.known:
        log.warning("one half of %s cannot be read, and counts as damaged: %s", name, content.problem)
    elif content.problem:
        log.warning("%s cannot be read: %s", name, content.problem)
    return content.problem
