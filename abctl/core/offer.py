"""Which releases stand on offer, and which move to the archive, so that what hosts fetch stays small."""

from collections.abc import Iterable, Iterator

from abctl.core.terms import Terms
from abctl.core.units import Version
from abctl.core.version_order import is_newer, order_of

KEEP = 8  # newest releases for each layout


def choose_offered(every: Iterable[Terms], keep: int = KEEP) -> frozenset[Version]:
    """Return the versions on offer: the newest ``keep`` for each layout, and the stepping stones to them."""
    newest_first = sorted(every, key=lambda terms: order_of(terms.version), reverse=True)
    offered: dict[Version, Terms] = {}
    for layout in {layout for terms in newest_first for layout in terms.layouts}:
        for terms in [terms for terms in newest_first if layout in terms.layouts][:keep]:
            offered[terms.version] = terms
    while missing := next(_find_missing(offered, newest_first), None):
        offered[missing.version] = missing
    return frozenset(offered)


def find_stuck(every: Iterable[Terms]) -> Iterator[Terms]:
    """Yield the releases that need another one first, where there is no such."""
    releases = list(every)
    for terms in releases:
        stones = [stone for stone in releases if _leads(stone, terms)]
        if terms.needs and not all(
            any(layout in item.layouts for item in stones) for layout in terms.layouts
        ):
            yield terms


def _find_missing(offered: dict[Version, Terms], newest_first: list[Terms]) -> Iterator[Terms]:
    """Yield the newest stepping stone to each release on offer that has none among them."""
    for terms in offered.values():
        for layout in terms.layouts:
            stones = [stone for stone in newest_first if layout in stone.layouts and _leads(stone, terms)]
            if stones and not any(stone.version in offered for stone in stones):
                yield stones[0]


def _leads(stone: Terms, terms: Terms) -> bool:
    """Whether hosts that are too old for ``terms`` get to it over ``stone``."""
    needs = terms.needs
    if needs is None or is_newer(needs, stone.version) or not is_newer(terms.version, stone.version):
        return False
    return stone.needs is None or is_newer(needs, stone.needs)
