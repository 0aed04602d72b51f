"""Write docs/sbom.cdx.json, what an installed abctl contains, and check the licences of it (CycloneDX 1.6).

python -m tests.sbom           writes it
python -m tests.sbom --check   says that it is out of step, and fails

Names, versions and digests are those of requirements.txt, licences those of the packages' own metadata.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from abctl.build.dependencies import find_dependencies, normal_name, requirements_of
from tests.generated import write_or_check

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.txt"
SBOM = ROOT / "docs/sbom.cdx.json"

# What may go into the product. Whoever adds one has read it: docs/dependencies-policy.md.
ALLOWED = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "GPL-2.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
    }
)
# Packages that do not say it in SPDX's words yet.
_IN_OTHER_WORDS = {
    "GPLv2+": "GPL-2.0-or-later",
    "License :: OSI Approved :: MIT License": "MIT",
}
_PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)")
_DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class LicenceProblem(Exception):
    """A package whose licence is not known, or not allowed."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock; ``digests`` are those of the files that it may be installed from."""

    name: str
    version: str
    digests: tuple[str, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> Iterator[Locked]:
    """Yield the packages of a lock that ``make lock`` wrote."""
    for block in re.split(r"\n(?=\S)", text):
        if pinned := _PINNED.match(block):
            yield Locked(pinned[1], pinned[2], tuple(sorted(_DIGEST.findall(block))))


def find_licence(name: str, metadata: Mapping[str, str], classifiers: list[str]) -> str:
    """Return a package's licence as an SPDX expression; raise LicenceProblem where it may not be used."""
    by_classifier = [text for text in classifiers if text.startswith("License ::")]
    stated = [metadata.get("License-Expression"), metadata.get("License"), *by_classifier]
    texts = [_IN_OTHER_WORDS.get(text, text) for text in stated if text]
    licence = next((text for text in texts if _words(text) and _words(text) <= ALLOWED), None)
    if licence is None:
        raise LicenceProblem(
            f"{name} says of its licence {texts or 'nothing'}, and tests/sbom.py allows no such: read it, "
            "then add it there or do without the package"
        )
    return licence


def _words(expression: str) -> set[str]:
    """Return the licences of an expression; of a choice each has to be allowed, so that any can be taken."""
    return set(re.split(r"\s+(?:AND|OR)\s+", expression))


def make_sbom() -> str:
    """Return the bill of materials; raise LicenceProblem where a package must not be in the product."""
    locked = {item.name: item for item in read_lock(LOCK.read_text())}
    own = distribution("abctl")
    needed = {name: _list_needed(distribution(name), locked) for name in locked}
    root = {"type": "application", "bom-ref": "abctl", "name": "abctl", "version": own.version}
    edges = {"abctl": _list_needed(own, locked)} | {locked[name].purl: needed[name] for name in locked}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": [_describe(item) for item in locked.values()],
        "dependencies": [
            {"ref": ref, "dependsOn": [locked[name].purl for name in names]} for ref, names in edges.items()
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _list_needed(package: Distribution, locked: Mapping[str, Locked]) -> list[str]:
    """Return which locked packages this one asks for itself, without its extras."""
    names = {normal_name(name) for name, _, _ in requirements_of(package)}
    return sorted(names & locked.keys())


def _describe(item: Locked) -> dict[str, object]:
    metadata = distribution(item.name).metadata
    classifiers = metadata.get_all("Classifier") or []
    licence = find_licence(item.name, {key: metadata[key] for key in metadata}, classifiers)
    digests = [{"alg": "SHA-256", "content": digest} for digest in item.digests]
    return {
        "type": "library",
        "bom-ref": item.purl,
        "name": item.name,
        "version": item.version,
        "licenses": [{"expression": licence}],
        "purl": item.purl,
        # Of the files that an index may give for it, so not of the component itself.
        "externalReferences": [{"type": "distribution", "url": item.purl, "hashes": digests}],
    }


def list_installed() -> dict[str, str]:
    """Return the versions of what an image of abctl would contain, without abctl itself."""
    return {
        normal_name(package.name): package.version
        for package in find_dependencies()
        if package.name != "abctl"
    }


def main(arguments: list[str]) -> int:
    """Write it, or with ``--check`` return 1 where it is out of step."""
    try:
        sbom = make_sbom()
    except LicenceProblem as problem:
        print(f"sbom: {problem}", file=sys.stderr)
        return 1
    return write_or_check({SBOM: sbom}, "make sbom", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
