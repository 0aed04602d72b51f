"""Validation problems as text."""


def describe_problem(location: tuple[int | str, ...], message: str) -> str:
    """Return one validation problem as ``images.0.part: ...``."""
    where = ".".join(str(part) for part in location)
    message = message.removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
