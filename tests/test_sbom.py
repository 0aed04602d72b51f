"""What the product contains: locked, hashed, of a licence that is allowed, and told in full."""

import json
import re
from pathlib import Path

import pytest

from tests.sbom import LOCK, ROOT, SBOM, LicenceProblem, find_licence, list_installed, make_sbom, read_lock

LOCKS = (LOCK, ROOT / "requirements-dev.txt")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_a_lock_is_pinned_and_hashed(lock: Path) -> None:
    text = lock.read_text()
    requirements = [line for line in text.splitlines() if re.match(r"[^\s#]", line)]
    locked = list(read_lock(text))
    assert len(locked) == len(requirements) > 20
    assert [item.name for item in locked if not item.digests] == []


def test_setup_takes_nothing_from_an_index_without_its_hash() -> None:
    installs = [
        line for line in (ROOT / ".ci/setup").read_text().splitlines() if re.match(r" +pip_install ", line)
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in line or ("--no-deps" in line and "-e ." in line) for line in installs)


def test_an_image_gets_what_the_lock_says_and_the_bill_of_materials_names_all_of_it() -> None:
    locked = {item.name: item.version for item in read_lock(LOCK.read_text())}
    assert list_installed() == locked
    document = json.loads(SBOM.read_text())
    assert {item["name"]: item["version"] for item in document["components"]} == locked
    assert all(item["licenses"][0]["expression"] for item in document["components"])


def test_the_bill_of_materials_says_who_needs_what() -> None:
    needs = {item["ref"]: item["dependsOn"] for item in json.loads(make_sbom())["dependencies"]}
    named = {item["name"] for item in json.loads(make_sbom())["components"]}
    assert {ref.partition("@")[0].removeprefix("pkg:pypi/") for ref in needs} == named | {"abctl"}
    (tuf,) = (ref for ref in needs if ref.startswith("pkg:pypi/tuf@"))
    assert tuf in needs["abctl"]
    assert any(ref.startswith("pkg:pypi/securesystemslib@") for ref in needs[tuf])
    reached, waiting = set(), ["abctl"]
    while waiting:
        ref = waiting.pop()
        reached.add(ref)
        waiting += [need for need in needs[ref] if need not in reached]
    assert reached == needs.keys(), "nobody needs the others"


@pytest.mark.parametrize(
    ("metadata", "classifiers", "licence"),
    [
        ({"License-Expression": "MIT"}, [], "MIT"),
        ({"License-Expression": "Apache-2.0 OR MIT"}, [], "Apache-2.0 OR MIT"),
        ({"License": "GPLv2+"}, [], "GPL-2.0-or-later"),
        ({}, ["Programming Language :: C", "License :: OSI Approved :: MIT License"], "MIT"),
    ],
)
def test_a_licence_is_found_wherever_a_package_states_it(
    metadata: dict[str, str], classifiers: list[str], licence: str
) -> None:
    assert find_licence("thing", metadata, classifiers) == licence


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "thing says of its licence nothing"),
        ({"License-Expression": "SSPL-1.0"}, "SSPL-1.0"),
        ({"License-Expression": "MIT AND SSPL-1.0"}, "MIT AND SSPL-1.0"),
        ({"License-Expression": "MIT OR SSPL-1.0"}, "MIT OR SSPL-1.0"),
        ({"License": "do what you like"}, "do what you like"),
    ],
)
def test_a_licence_that_nobody_allowed_is_refused_by_name(metadata: dict[str, str], said: str) -> None:
    with pytest.raises(LicenceProblem, match=re.escape(said)):
        find_licence("thing", metadata, ["Programming Language :: Python"])


def test_the_hooks_before_a_commit_are_the_lines_of_make_check() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    lines = [
        line.replace("$(PYTHON)", ".venv/bin/python").replace("$$", "$").strip()
        for line in recipe[1].splitlines()
    ]
    hooks = re.findall(r"^ +entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert [hook.removeprefix("bash -c '").removesuffix("'") for hook in hooks] == lines
