"""Root's shell in the guest, on its second serial line; overlay/usr/lib/lab/shell is the other side.

A request is ``NUMBER BASE64-OF-THE-COMMAND``, its answer ``@@NUMBER CODE BASE64-OUT BASE64-ERR@@``.
"""

import base64
import itertools
import json
from dataclasses import dataclass
from typing import Any

from tests.lab.console import Console

_READY = r"@@READY ([0-9a-f-]{36})@@"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended in the guest."""

    command: str
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"{self} gave no JSON") from error

    def check(self) -> "Done":
        assert self.code == 0, str(self)
        return self

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}(exit code {self.code})"


class Shell:
    """Runs commands one after the other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._numbers = itertools.count(1)

    def wait_ready(self, limit: float, start: int = 0) -> str:
        """Wait for the shell to come up after line ``start``, and return the boot's id."""
        return self._console.wait(_READY, limit, start=start)[1]

    def run(self, command: str, limit: float = 120) -> Done:
        """Run a command; raise NotSeen after ``limit`` seconds."""
        number = next(self._numbers)
        start = self._console.count
        self._console.type(b"%d %s\n" % (number, base64.b64encode(command.encode())))
        found = self._console.wait(rf"@@{number} (\d+) (\S*) (\S*)@@", limit, start=start)
        out, err = (base64.b64decode(found[place].strip("-")).decode("utf-8", "replace") for place in (2, 3))
        return Done(command, int(found[1]), out, err)
