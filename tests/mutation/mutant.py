"""One change to the core, and what became of it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.mutation.places import METAS, ROOT

_KEY = re.compile(r"abctl\.core\.(?P<module>\w+)\.(?P<mangled>x(?P<name>.+))__mutmut_(?P<number>\d+)")


class Verdict(Enum):
    """What became of a mutant; the value is its letter where it is written down."""

    KILLED = "k"
    TIMEOUT = "t"
    SURVIVED = "s"
    NO_TESTS = "n"
    NOT_TRIED = "-"

    @property
    def is_noticed(self) -> bool:
        return self in (Verdict.KILLED, Verdict.TIMEOUT)


# The numbers of mutmut, for the ends of its child processes; any other end is that of a test that failed.
_ENDS: dict[int | None, Verdict] = {
    None: Verdict.NOT_TRIED,
    2: Verdict.NOT_TRIED,
    0: Verdict.SURVIVED,
    5: Verdict.NO_TESTS,
    33: Verdict.NO_TESTS,
    **dict.fromkeys((24, -24, 36, 152, 255), Verdict.TIMEOUT),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change; ``key`` is mutmut's name of it."""

    key: str
    verdict: Verdict

    @property
    def mangled(self) -> str:
        """The function or method as mutmut names it within its module."""
        return self._parts["mangled"]

    @property
    def number(self) -> int:
        return int(self._parts["number"])

    @property
    def function(self) -> str:
        """The function or method, with its module."""
        name = self._parts["name"].strip("ǁ").removeprefix("_").replace("ǁ", ".")
        return f"{self._parts['module']}.{name}"

    @property
    def _parts(self) -> Mapping[str, str]:
        match = _KEY.fullmatch(self.key)
        assert match is not None, self.key
        return match.groupdict()


@dataclass(frozen=True, slots=True)
class Module:
    """What mutmut keeps of a module: its mutants, and the digest of each function's code."""

    mutants: tuple[Mutant, ...] = ()
    digests: Mapping[str, str] | None = None


def meta_of(module: str) -> Path:
    return METAS / f"{module}.py.meta"


def read_module(module: str) -> Module:
    """Return what mutmut keeps of one module; nothing where it has not been there yet."""
    meta = meta_of(module)
    if not meta.exists():
        return Module()
    kept = json.loads(meta.read_text())
    ends = kept["exit_code_by_key"]
    mutants = tuple(Mutant(key, _ENDS.get(end, Verdict.KILLED)) for key, end in ends.items())
    return Module(mutants, kept["hash_by_function_name"])


def list_modules() -> list[str]:
    """Return the modules of the core."""
    return sorted(path.stem for path in (ROOT / "abctl/core").glob("[a-z]*.py"))
