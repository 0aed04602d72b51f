"""The kernel's packet filter, by nft; its JSON is made and read in ``abctl.firewall``."""

import re

from abctl.errors import ToolFailed
from abctl.host.run import run

FAMILY, TABLE = "inet", "abctl"
_TIMEOUT = 30.0  # seconds
_NO_SUCH = re.compile(r"No such file or directory")
_ERROR = re.compile(r"Error: ([^\n]+?)(?: Parsing command array at index [0-9]+ failed\.?)?(?= internal:|$)")
_RIGHTS = "nft may not do this: run as root"


class Nft:
    """abctl's own table; no other is read or changed."""

    def read(self) -> str | None:
        """Return what is in the table, as nft lists it; None where it is not there. Raise ToolFailed."""
        try:
            return run("nft", "-j", "list", "table", FAMILY, TABLE, timeout=_TIMEOUT)
        except ToolFailed as error:
            if _NO_SUCH.search(str(error)):
                return None
            raise _explain(error) from error

    def check(self, commands: str) -> None:
        """Raise ToolFailed where nft or the kernel does not take the transaction; change nothing."""
        self._run(commands, "-c")

    def load(self, commands: str) -> None:
        """Carry out the transaction, all of it or nothing; raise ToolFailed."""
        self._run(commands)

    def _run(self, commands: str, *options: str) -> None:
        try:
            run("nft", *options, "-j", "-f", "-", stdin=commands, timeout=_TIMEOUT)
        except ToolFailed as error:
            raise _explain(error) from error


def _explain(error: ToolFailed) -> ToolFailed:
    text = str(error)
    if "Operation not permitted" in text:
        return ToolFailed(_RIGHTS)
    found = _ERROR.search(text)
    return ToolFailed(f"nft does not take the rules: {found[1]}") if found else error
