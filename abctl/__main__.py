"""Where the program starts."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is still loading ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from abctl.cli import main as run_command  # noqa: PLC0415

    run_command()


if __name__ == "__main__":
    main()
