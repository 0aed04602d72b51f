"""Fields of what a program has written down as JSON: whoever reads it looks at each again."""

from typing import Any

from abctl.core.units import TIME_END


def checked(value: Any, *kinds: type) -> Any:
    """Return ``value``, or raise ValueError where it is of another type, or no number in its place."""
    if type(value) not in kinds:
        raise ValueError(f"cannot be {value!r}")
    if type(value) in (int, float) and not 0 <= value < TIME_END:
        raise ValueError(f"cannot be {value!r}")
    return value


def checked_number(value: Any) -> int:
    """Return a whole number from 0 to TIME_END, or raise ValueError."""
    return int(checked(value, int))
