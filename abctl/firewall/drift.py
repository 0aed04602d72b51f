"""In what the kernel's rules differ from those that are wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

from abctl.firewall.loaded import Foreign, Loaded
from abctl.firewall.rules import Chain, Rule
from abctl.firewall.say import say_rule


class Kind(StrEnum):
    """How something differs."""

    MISSING = "missing"  # wanted, and not in the kernel
    EXTRA = "extra"  # in the kernel, and not wanted
    WRONG = "wrong"  # there, but not as it should be


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference; ``place`` is the number of the rule in its chain, from 1, in the list that has it."""

    kind: Kind
    text: str
    chain: Chain | None = None
    place: int | None = None


def find_drift(wanted: Loaded, found: Loaded | None) -> tuple[Drift, ...]:
    """Return every difference, in the order of the kernel's chains."""
    if found is None:
        return (Drift(Kind.MISSING, "no rules of abctl are loaded: the table inet abctl is not there"),)
    wrong = tuple(Drift(Kind.WRONG, text) for text in found.wrong)
    return (*wrong, *(item for chain in Chain for item in _compare(chain, wanted, found)))


def _compare(chain: Chain, wanted: Loaded, found: Loaded) -> Iterator[Drift]:
    ours, theirs = wanted.list_rules(chain), found.list_rules(chain)
    if ours == theirs:
        return
    for tag, start, end, other_start, other_end in SequenceMatcher(
        None, ours, theirs, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            yield from _list(Kind.MISSING, chain, ours, start, end)
            yield from _list(Kind.EXTRA, chain, theirs, other_start, other_end)


def _list(kind: Kind, chain: Chain, rules: Sequence[Rule | Foreign], start: int, end: int) -> Iterator[Drift]:
    for place in range(start, end):
        rule = rules[place]
        text = say_rule(rule) if isinstance(rule, Rule) else rule.text
        yield Drift(kind, f"{text} ({rule.name})" if rule.name else text, chain, place + 1)
