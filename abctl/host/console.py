"""The host's first console: where notices of guests are shown."""

import logging
import os
from pathlib import Path

CONSOLE = Path("/dev/tty1")
log = logging.getLogger(__name__)


def show_on_console(line: str, path: Path = CONSOLE) -> None:
    """Show one line, which is clean already; where the console takes none, only the journal has it."""
    log.info("%s", line)
    try:
        # A console that somebody stopped with Ctrl-S must not stop us too.
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, f"\r\n{line}\r\n".encode())
        finally:
            os.close(fd)
    except OSError as error:
        log.info("%s shows no notices: %s", path, error.strerror)
