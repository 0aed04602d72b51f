"""Validation problems as text."""


def describe_problem(location: tuple[int | str, ...], message: str) -> str:
    """Return one validation problem as ``images.0.part: ...``."""
    where = ".".join(str(part) for part in location)
    message = message.removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def clean_text(text: str) -> str:
    """Return text from outside fit for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
