"""Validation problems as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError  # long to load, and `abctl status` does without it

_PROBLEMS_SHOWN = 8
_PROBLEM_MAX = 200  # characters; a field's name may be as long as its file


def describe_problems(error: ValidationError) -> str:
    """Return the first problems as one line, and how many more there are."""
    problems = [describe_problem(item["loc"], item["msg"]) for item in error.errors()]
    more = f"; and {len(problems) - _PROBLEMS_SHOWN} more" if len(problems) > _PROBLEMS_SHOWN else ""
    shown = "; ".join(clean_text(problem)[:_PROBLEM_MAX] for problem in problems[:_PROBLEMS_SHOWN])
    return f"{shown}{more}"


def describe_problem(location: tuple[int | str, ...], message: str) -> str:
    """Return one validation problem as ``images.0.part: ...``."""
    where = ".".join(str(part) for part in location)
    message = message.removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def clean_text(text: str) -> str:
    """Return text from outside fit for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
