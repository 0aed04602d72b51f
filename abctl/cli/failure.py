"""What a failed command says, and its exit code."""

import signal
from types import FrameType

import click

from abctl.errors import AbctlError, Interrupted

_INTERRUPTED = "interrupted: what runs is as it was; 'abctl status' says what the other slot set holds"


class Interruption:
    """Turns SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt, and remembers that one came.

    Libraries written in C may turn the exception into one of their own.
    """

    came = False

    @classmethod
    def watch(cls) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, cls._interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signal.SIGHUP, cls._interrupt)

    @classmethod
    def ignore(cls) -> None:
        """Let the program end undisturbed: all that is left to do is short, and none of it is the user's."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    @classmethod
    def _interrupt(cls, number: int, _frame: FrameType | None) -> None:
        cls.came = True
        if number == signal.SIGHUP:
            # The kernel and the shell both send it; the second must not end what cleans up.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise KeyboardInterrupt


def explain(error: BaseException) -> tuple[str, int]:
    """Return one sentence on ``error``, and the exit code."""
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, AbctlError):
        return str(error), error.exit_code
    if Interruption.came or isinstance(error, (KeyboardInterrupt, click.Abort)):
        return _INTERRUPTED, Interrupted.exit_code
    return f"this is a fault in abctl ({type(error).__name__}: {error}); --debug shows where", 1
