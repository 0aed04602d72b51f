"""Metrics in Prometheus' text format, version 0.0.4, as node_exporter's textfile collector reads it.

A family stands in one piece, with its help and its type once; its samples all have the same labels, and no
two the same values of them. https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from abctl.core.problems import clean_text

LABEL_MAX = 200  # characters of a label's value
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number; the values of ``labels`` are any text."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one gauge. Raise ValueError where they do not go together."""

    name: str
    help: str
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        names = {name for sample in self.samples for name in sample.labels}
        if not all(_NAME.fullmatch(name) for name in (self.name, *names)):
            raise ValueError(f"{self.name}: a name of a metric or label has small letters, digits and _")
        if any(set(sample.labels) != names for sample in self.samples):
            raise ValueError(f"{self.name}: all samples must have the same labels")
        said = {tuple(_clean(sample.labels[name]) for name in sorted(names)) for sample in self.samples}
        if len(said) != len(self.samples):
            raise ValueError(f"{self.name}: two samples have the same labels")


def render(families: Iterable[Family]) -> str:
    """Return the families that have samples as text; raise ValueError where one comes twice."""
    lines: list[str] = []
    seen: set[str] = set()
    for family in families:
        if family.name in seen:
            raise ValueError(f"{family.name} comes twice")
        seen.add(family.name)
        if family.samples:
            lines += (f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} gauge")
        lines += (f"{family.name}{_labels(sample)} {_number(sample.value)}" for sample in family.samples)
    return "".join(f"{line}\n" for line in lines)


def _labels(sample: Sample) -> str:
    words = (f"{name}={_quote(value)}" for name, value in sample.labels.items())
    return f"{{{','.join(words)}}}" if sample.labels else ""


def _quote(value: str) -> str:
    text = _escape(_clean(value)).replace('"', '\\"')
    return f'"{text}"'


def _clean(value: str) -> str:
    return clean_text(value)[:LABEL_MAX]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
