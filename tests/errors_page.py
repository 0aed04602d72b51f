"""Make docs/errors.md from the classes of abctl.errors: their docstrings and exit codes."""

from abctl import errors

_HEAD = """\
# Errors and exit codes

A command that fails prints one sentence that says what is wrong, with which thing, and what to do, and
ends with the exit code of its kind. Made from `abctl/errors.py` by `make schemas`.

| code | meaning |
|---|---|
| 0 | done |
| 1 | a fault in abctl itself; `--debug` shows where |
| 2 | a wrong command line |
| 3 | `disk check` or `firewall diff` found differences, `doctor` a fault, or a check of `health` failed |
"""


_COLUMNS = """\
| code | name | meaning | what to do |
|---|---|---|---|
"""


def list_errors() -> tuple[type[errors.AbctlError], ...]:
    """Return the classes of errors in the order of the source."""
    kinds = [item for item in vars(errors).values() if isinstance(item, type)]
    return tuple(kind for kind in kinds if issubclass(kind, errors.AbctlError))


def has_own_code(kind: type[errors.AbctlError]) -> bool:
    """Whether ``kind`` is raised itself, and not only what several kinds have in common."""
    return "exit_code" in vars(kind) and kind is not errors.AbctlError


def explain(kind: type[errors.AbctlError]) -> tuple[str, str]:
    """Return what an error means and what to do about it, the latter empty where the kinds below say it."""
    meaning, _, remedy = (" ".join(part.split()) for part in (kind.__doc__ or "").partition("\n\n"))
    return meaning, remedy.removeprefix("What to do: ")


def make_errors_page() -> str:
    """Return docs/errors.md: a table for each branch of the tree."""
    page = _HEAD
    for branch in errors.AbctlError.__subclasses__():
        kinds = [kind for kind in list_errors() if issubclass(kind, branch) and has_own_code(kind)]
        page += f"\n## {explain(branch)[0].rstrip('.')}\n\n{_COLUMNS}"
        page += "".join(_make_row(kind) for kind in kinds)
    return page


def _make_row(kind: type[errors.AbctlError]) -> str:
    meaning, remedy = explain(kind)
    return f"| {kind.exit_code} | {kind.__name__} | {meaning} | {remedy[:1].upper()}{remedy[1:]} |\n"
