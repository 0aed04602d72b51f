"""What a look into a slot set showed, beside what the boot environment says of it."""

from dataclasses import dataclass

from abctl.core.units import Version


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the volumes of a slot set.

    ``problem`` is a sentence on the first volume that is not there or cannot be read. ``has_kernel`` is None
    where that is not known, ``version`` None where its files do not tell one.
    """

    problem: str | None = None
    has_kernel: bool | None = None
    version: Version | None = None
