"""What a fault is that is put in on purpose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault: ``old`` stands exactly once in ``file`` and becomes ``new``; ``tests`` should catch it."""

    fault: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
