"""Where a firewall's policy is from: files of the host, what ships with abctl, and the command line."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from abctl.cli.wiring import Target
from abctl.errors import AbctlError, BadFirewall
from abctl.firewall.form import (
    POLICY_MAX,
    PolicyForm,
    WidestForm,
    add_base,
    parse_policy,
    parse_prefix,
    parse_prefixes,
)
from abctl.firewall.policy import HOST_PREFIX, Filling, Policy, list_sets, make_policy, make_policy_at_boot
from abctl.firewall.render import make_objects
from abctl.firewall.rules import Family, family_of
from abctl.firewall.state import Wanted
from abctl.host.config import DEFAULT_FOLDER
from abctl.host.firewall_files import (
    POLICY_NAME,
    digest_of,
    find_prefix_files,
    find_shipped,
    prefix_folders,
)
from abctl.host.small_files import read_text

log = logging.getLogger(__name__)

DEFAULT = "hostos"
_BASES_MAX = 4  # policies below each other
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Choice:
    """Which policy is wanted: ``policy`` names a file or a shipped one, None for that of the host."""

    folder: Path
    has_own_folder: bool = False
    policy: str | None = None
    sets: Mapping[str, Filling] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A policy as it was read, and the files it was read from."""

    name: str
    form: PolicyForm
    files: tuple[Path, ...]


def choose(target: Target, policy: str | None = None, sets: Sequence[str] = ()) -> Choice:
    """Return what the command line says; raise UsageError where ``sets`` are not as NAME=PREFIX,PREFIX."""
    given: dict[str, Filling] = {}
    for text in sets:
        name, equals, prefixes = text.partition("=")
        try:
            networks = tuple(parse_prefix(item.strip()) for item in prefixes.split(",") if item.strip())
        except ValueError as error:
            raise click.UsageError(f"--set {name[:40]}: {error}") from error
        if not equals or not name:
            raise click.UsageError(f"--set {text[:40]!r}: write NAME=PREFIX, as in host-prefix=2001:db8::/64")
        given[name] = Filling(networks, f"--set {name}")
    return Choice(target.config or DEFAULT_FOLDER, target.config is not None, policy, given)


def source_options(command: _F) -> _F:
    """Add --policy and --set."""
    command = click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="NAME=PREFIX,...",
        help="Fill a set of the policy for this command, as in host-prefix=2001:db8::/64.",
    )(command)
    return click.option(
        "--policy",
        metavar="NAME|FILE",
        help="Another policy than /etc/abctl/firewall.toml: hostos, or a file.",
    )(command)


def read_policy(choice: Choice) -> tuple[Source, Policy]:
    """Return the policy that is wanted, with its sets filled; raise BadFirewall."""
    source = _read_source(choice)
    unknown = [name for name in choice.sets if name not in list_sets(source.form)]
    if unknown:
        known = ", ".join(sorted(list_sets(source.form)))
        raise click.UsageError(f"--set {unknown[0][:40]}: {source.name} has no such set; it has {known}")
    fillings: dict[str, Filling] = {}
    for name, path in _list_prefix_files(choice):
        fillings[name] = _read_filling(path)
    return source, make_policy(source.form, source.name, _complete(choice, fillings))


def read_policy_at_boot(choice: Choice) -> tuple[Source, Policy, tuple[str, ...]]:
    """Return the policy with those files of the host that are sound, and what is wrong with the others.

    Raise BadFirewall where the policy itself is wrong.
    """
    source = _read_source(choice)
    fillings: dict[str, Filling] = {}
    problems = []
    for name, path in _list_prefix_files(choice):
        try:
            fillings[name] = _read_filling(path)
        except BadFirewall as error:
            problems.append(f"a set of the firewall is left as the policy has it: {error}")
    policy, more = make_policy_at_boot(source.form, source.name, _complete(choice, fillings))
    return source, policy, (*problems, *more)


def make_wanted(choice: Choice, source: Source, policy: Policy, problems: Sequence[str] = ()) -> Wanted:
    """Return what is to be loaded."""
    digests = {str(path): digest_of(str(path)) for path in (*source.files, *_prefix_files_of(choice))}
    return Wanted(source.name, make_objects(policy.rules), digests, problems=tuple(problems))


def read_host_prefixes(choice: Choice) -> tuple[Filling, ...]:
    """Return what is known of the host's own prefixes, for when the policy cannot be used; never raises.

    Those that a policy would refuse as too wide are left out.
    """
    try:
        found = dict(_list_prefix_files(choice))
        fillings = {HOST_PREFIX: _read_filling(found[HOST_PREFIX])} if HOST_PREFIX in found else {}
        complete = _complete(choice, fillings)
    except AbctlError:
        return ()
    return (_without_wide(complete[HOST_PREFIX]),) if HOST_PREFIX in complete else ()


def _without_wide(filling: Filling) -> Filling:
    widest = WidestForm()
    kept = []
    for network in filling.networks:
        shortest = widest.ipv4 if family_of(network) is Family.IPV4 else widest.ipv6
        if network.prefixlen >= shortest:
            kept.append(network)
        else:
            log.warning("%s in %s is left out: it is wider than /%d", network, filling.source, shortest)
    return replace(filling, networks=tuple(kept))


def _read_source(choice: Choice) -> Source:
    name, path = _find_policy(choice)
    form = parse_policy(read_text(path, POLICY_MAX, BadFirewall), str(path))
    for _ in range(_BASES_MAX):
        if form.base is None:
            break
        base = find_shipped(form.base)
        form = add_base(form, parse_policy(read_text(base, POLICY_MAX, BadFirewall), str(base)))
    if form.base is not None:
        raise BadFirewall(f"{path} has a base that has a base, and so on, more than {_BASES_MAX} times")
    return Source(name, form, (path,))


def _find_policy(choice: Choice) -> tuple[str, Path]:
    """Return the name of the policy that is wanted, and its file."""
    wanted = choice.policy or str(choice.folder / POLICY_NAME)
    if choice.policy is None and not Path(wanted).exists():
        wanted = DEFAULT
    return wanted, Path(wanted) if _is_file(wanted) else find_shipped(wanted)


def _is_file(policy: str) -> bool:
    return "/" in policy or policy.endswith(".toml")


# --- what the host fills in -------------------------------------------------------------------------


def _list_prefix_files(choice: Choice) -> Iterator[tuple[str, Path]]:
    folders = prefix_folders(choice.folder, with_config_volume=not choice.has_own_folder)
    yield from find_prefix_files(*folders).items()


def _prefix_files_of(choice: Choice) -> tuple[Path, ...]:
    return tuple(path for _, path in _list_prefix_files(choice))


def _read_filling(path: Path) -> Filling:
    return Filling(parse_prefixes(read_text(path, POLICY_MAX, BadFirewall), str(path)), str(path))


def _complete(choice: Choice, fillings: Mapping[str, Filling]) -> dict[str, Filling]:
    """Return ``fillings``, the host's prefix from its settings where no file says it, and --set over all."""
    known = _read_settings() if HOST_PREFIX not in fillings and not choice.has_own_folder else {}
    return {**known, **fillings, **choice.sets}


def _read_settings() -> dict[str, Filling]:
    """Return the prefix that the host's settings have, where they have one."""
    from abctl.host.settings_file import SettingsFile  # noqa: PLC0415

    file = SettingsFile()
    prefix = file.read().settings.ipv6_prefix
    return {HOST_PREFIX: Filling((parse_prefix(prefix),), str(file.path))} if prefix else {}
