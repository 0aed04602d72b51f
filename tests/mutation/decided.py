"""What was decided, kept with the page, so that another machine goes on from there.

By module and function: the digest of the function's code, and a letter for each of its mutants in mutmut's
order. mutmut tries a function anew whose digest is another.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.mutation.mutant import Mutant, Verdict, list_modules, meta_of, read_module

# What mutmut would have written down; survivors are tried once more, for there may be new tests.
_ENDS = {Verdict.KILLED: 1, Verdict.TIMEOUT: 36}

Kept = dict[str, dict[str, list[str]]]


def load(path: Path) -> Kept:
    kept: Kept = json.loads(path.read_text()) if path.exists() else {}
    return kept


def keep(path: Path) -> None:
    """Write down what is decided; what survived before and was not tried again has survived."""
    before = load(path)
    kept: Kept = {}
    for name in list_modules():
        module = read_module(name)
        old = before.get(name, {})
        digests = module.digests or {}
        kept[name] = {
            function: [digests[function], _merge(text, old.get(function), digests[function])]
            for function, text in sorted(spell(module.mutants).items())
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_encode({name: functions for name, functions in kept.items() if functions}))


def _merge(letters: str, old: list[str] | None, digest: str) -> str:
    if old is None or old[0] != digest:
        return letters
    unknown = Verdict.NOT_TRIED.value
    return "".join(before if now == unknown else now for now, before in zip(letters, old[1], strict=True))


def read_mutants(path: Path) -> dict[str, tuple[Mutant, ...]]:
    """Return what was written down of each module."""
    return {
        module: tuple(
            Mutant(_key(module, function, number), Verdict(letter))
            for function, (_, letters) in functions.items()
            for number, letter in enumerate(letters, 1)
        )
        for module, functions in load(path).items()
    }


def _key(module: str, function: str, number: int) -> str:
    return f"abctl.core.{module}.{function}__mutmut_{number}"


def spell(mutants: Iterable[Mutant]) -> dict[str, str]:
    """Return a letter for each mutant, by function."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for item in mutants:
        found[item.mangled][item.number] = item.verdict.value
    return {
        function: "".join(
            verdicts.get(number, Verdict.NOT_TRIED.value) for number in range(1, max(verdicts) + 1)
        )
        for function, verdicts in found.items()
    }


def _encode(kept: Kept) -> str:
    """Return JSON with a line for each function, so that a change is seen."""
    modules = (
        f'"{name}": {{\n'
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in items.items())
        for name, items in kept.items()
    )
    return "{\n" + "\n},\n".join(modules) + "\n}\n}\n"


def restore(path: Path) -> None:
    """Let mutmut know what is decided, of each module of which it knows nothing, and open what survived."""
    kept = load(path)
    for name in list_modules():
        meta = meta_of(name)
        if not meta.exists() and name in kept:
            meta.parent.mkdir(parents=True, exist_ok=True)
            meta.write_text(json.dumps(make_meta(name, kept[name])))
        elif meta.exists():
            found = json.loads(meta.read_text())
            ends = found["exit_code_by_key"]
            opened = {item.key for item in read_module(name).mutants if not item.verdict.is_noticed}
            found["exit_code_by_key"] = {key: None if key in opened else end for key, end in ends.items()}
            meta.write_text(json.dumps(found))


def make_meta(module: str, functions: Mapping[str, list[str]]) -> dict[str, object]:
    """Return the content of mutmut's file on a module."""
    ends = {
        _key(module, function, number): _ENDS.get(Verdict(letter))
        for function, (_, letters) in functions.items()
        for number, letter in enumerate(letters, 1)
    }
    return {
        "exit_code_by_key": ends,
        "hash_by_function_name": {function: digest for function, (digest, _) in functions.items()},
        "type_check_error_by_key": {},
        "durations_by_key": {},
        "estimated_durations_by_key": {},
    }
