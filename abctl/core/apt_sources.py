"""Where apt gets Debian from, as its two kinds of files tell it."""

from collections.abc import Iterable, Mapping

from abctl.core.problems import clean_text


def find_source_lines(texts: Mapping[str, str], suite: str, components: Iterable[str]) -> tuple[str, ...]:
    """Return the lines of sources.list for ``suite`` and its updates, out of apt's files by their names."""
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    found: dict[tuple[str, str], None] = {}
    for name, text in sorted(texts.items()):
        pairs = _read_paragraphs(text) if name.endswith(".sources") else _read_lines(text)
        found |= dict.fromkeys(pair for pair in pairs if pair[1] in wanted)
    words = " ".join(components)
    return tuple(f"deb {clean_text(uri)} {suite} {words}" for uri, suite in found)


def _read_lines(text: str) -> list[tuple[str, str]]:
    pairs = []
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        if rest.strip().startswith("["):
            rest = rest.partition("]")[2]
        words = rest.split()
        if kind == "deb" and len(words) > 1:
            pairs.append((words[0], words[1]))
    return pairs


def _read_paragraphs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            else:
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
                name = name.lower()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            pairs += [
                (u, s) for u in fields.get("uris", "").split() for s in fields.get("suites", "").split()
            ]
    return pairs
