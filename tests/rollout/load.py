"""What a course costs: requests and bytes, over time and in all."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.rollout.fleet import MIB, MINUTE
from tests.rollout.stories import Story
from tests.rollout.waves import Floats

# As python-tuf 7.0.1 writes it, with two Ed25519 keys and two releases that have waves.
HEADERS: Final = 500  # of a request's answer, about
TIMESTAMP: Final = 370 + HEADERS
CHANGED: Final = 370 + 1_570 + 2 * HEADERS  # snapshot and targets
# A check asks for the next root too, and gets 404: python-tuf does so each time.
REQUESTS_OF_CHECK: Final = 2
BYTES_OF_CHECK: Final = TIMESTAMP + HEADERS
REQUESTS_OF_NEWS: Final = 2
# Counted in the log of the server of `make bench`.
REQUESTS: Final = {"full": 7, "blocks": 149, "delta": 8}
PAGE = Path(__file__).resolve().parents[2] / "docs/performance.md"
_ROWS = {"full": "abctl, full", "blocks": "abctl, by blocks", "delta": "abctl, delta"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one host downloads by each way, in MiB, and where that was measured."""

    full: float
    blocks: float
    delta: float
    source: str


MEASURED = Sizes(541.5, 157.1, 7.8, "`make bench`, a monthly security update")
OLDER = Sizes(488.0, 107.4, 36.1, "earlier prototypes, a larger update: 20 % of the bytes")


def find_sizes(page: Path = PAGE) -> Sizes:
    """Return the sizes in the table of ``page``, or those of the last run that is known here."""
    text = page.read_text() if page.exists() else ""
    found = {way: _find_download(text, row) for way, row in _ROWS.items()}
    if not all(found.values()):
        return MEASURED
    return Sizes(
        found["full"], found["blocks"], found["delta"], "[performance.md](performance.md), a security update"
    )


def _find_download(text: str, row: str) -> float:
    """Return the fourth figure of a row: downloaded MiB; 0 where there is none."""
    match = re.search(rf"^\| {re.escape(row)} \|(?: [\d.]+ \|){{3}} ([\d.]+) \|", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def bits_over_time(story: Story, starts: Floats, size: float) -> Floats:
    """Return Gbit/s in each minute for downloads of ``size`` MiB that start at ``starts``, one a host."""
    has_started = np.isfinite(starts)
    rates, begins = story.fleet.link[has_started], starts[has_started]
    edges = np.concatenate([[0.0], story.minutes])
    sent = _sum_ramps(begins, rates, edges) - _sum_ramps(begins + size * MIB / rates, rates, edges)
    return np.diff(sent) / MINUTE * 8 / 1e9


def _sum_ramps(begins: Floats, rates: Floats, edges: Floats) -> Floats:
    """Return for each edge the sum of what began before it at its rate and never ends."""
    order = np.argsort(begins)
    rate_so_far = np.concatenate([[0.0], np.cumsum(rates[order])])
    offset_so_far = np.concatenate([[0.0], np.cumsum((rates * begins)[order])])
    place = np.searchsorted(begins[order], edges)
    summed: Floats = edges * rate_so_far[place] - offset_so_far[place]
    return summed


def count_starts(story: Story, starts: Floats) -> Floats:
    """Return how many downloads started in each minute."""
    edges = np.concatenate([[0.0], story.minutes])
    return np.histogram(starts[np.isfinite(starts)], edges)[0].astype(np.float64)


def requests_over_time(story: Story) -> tuple[Floats, Floats]:
    """Return the requests a second for metadata, and for what is installed: the stone by blocks."""
    course = story.course
    metadata = REQUESTS_OF_CHECK * course.checks + REQUESTS_OF_NEWS * course.renewals
    images = REQUESTS["delta"] * count_starts(story, course.started)
    images += REQUESTS["blocks"] * count_starts(story, course.stone_started)
    return metadata / MINUTE, images / MINUTE


def metadata_bytes(story: Story) -> Floats:
    """Return bytes a second of metadata in each minute."""
    course = story.course
    return (BYTES_OF_CHECK * course.checks + CHANGED * course.renewals) / MINUTE


def total_terabytes(story: Story, of_new: float, of_stone: float) -> float:
    """Return what all hosts downloaded, where the new version costs so many MiB and the stone so many."""
    news, stones = (
        int(np.isfinite(times).sum()) for times in (story.course.started, story.course.stone_started)
    )
    return (news * of_new + stones * of_stone) * MIB / 1e12
