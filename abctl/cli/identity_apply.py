"""Give the running host its identity, step by step: a step that fails does not stop the others."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from abctl.cli.identity_host import Around, find_identity
from abctl.cli.report_identity import AppliedReport
from abctl.core.macs import Index
from abctl.errors import AbctlError
from abctl.host.hostname import set_hostname
from abctl.host.key_files import User, read_source, replace_keys
from abctl.host.machine_id import keep_machine_id, read_kept_machine_id, read_machine_id
from abctl.host.network_files import reload_networkd, write_network_files
from abctl.host.settings_file import Read, SettingsFile
from abctl.identity.accounts import ACCOUNTS, Account
from abctl.identity.authorized_keys import Key, KeyList, encode_keys, parse_keys
from abctl.identity.identity import Identity
from abctl.identity.networkd import PREFIX, make_network_files

KEYS = "ssh_authorized_keys"  # on the config volume


@dataclass
class Applying:
    """One run over all steps; sentences of what was changed, what is not as it should be, and what failed."""

    around: Around
    read: Read
    identity: Identity
    changed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[AbctlError] = field(default_factory=list)

    def run(self) -> AppliedReport:
        for step in (self._set_name, self._keep, self._write_network, self._set_keys):
            try:
                step()
            except AbctlError as error:
                self.failures.append(error)
        return AppliedReport(
            hostname=self.identity.hostname,
            changed=tuple(self.changed),
            warnings=(*self.read.warnings, *self.identity.warnings, *self.warnings),
            failures=tuple(str(error) for error in self.failures),
        )

    # --- name and settings --------------------------------------------------------------------------

    def _set_name(self) -> None:
        name = self.identity.hostname
        if name is not None and set_hostname(name, self.around.paths.root, self.around.run):
            self.changed.append(f"the hostname is {name}")

    def _keep(self) -> None:
        """Keep what the other slot set and the next boot must find; a full volume is no fault of ours."""
        if self.read.is_away:
            return
        try:
            self._keep_in_settings()
            self._keep_machine_id()
        except AbctlError as error:
            self.warnings.append(str(error))

    def _keep_in_settings(self) -> None:
        file = SettingsFile(self.around.paths)
        management, changes = self.identity.management, {}
        if management.may_keep and management.mac:
            changes["found_mac"] = str(management.mac)
        if (machine_id := self._find_machine_id()) and machine_id != self.read.settings.machine_id:
            changes["machine_id"] = machine_id
        # A damaged file stays for an admin to look at, until somebody has something to say.
        if self.read.is_damaged:
            return
        if changes:
            file.update(changes)
            self.changed += [f"the setting {name} is {value} from now on" for name, value in changes.items()]
        else:
            file.keep_good_copy()

    def _keep_machine_id(self) -> None:
        machine_id = self._find_machine_id()
        if machine_id and machine_id != read_kept_machine_id(self.around.paths):
            keep_machine_id(machine_id, self.around.paths)
            self.changed.append("both slot sets have this machine-id from the next boot on")

    def _find_machine_id(self) -> str | None:
        """Return the machine-id that counts: the settings' one, then what boots get now, then what runs."""
        paths = self.around.paths
        return self.read.settings.machine_id or read_kept_machine_id(paths) or read_machine_id(paths)

    # --- network ------------------------------------------------------------------------------------

    def _write_network(self) -> None:
        host = self.identity.find(Index.HOST)
        if host is None and self.read.warnings:
            return  # what is in doubt must not cost a host its network
        files: dict[str, str] = {}
        if host is not None:
            cards = self.around.list_cards()
            card = cards[0].mac if cards and cards[0].is_own else None
            if card is None:
                self.warnings.append("no network card was found for the bridge br6, so it stands alone")
            files = make_network_files(host, self.identity.settings.ipv6_gateway, card)
        changed = write_network_files(files, PREFIX, self.around.paths.root)
        if changed:
            self.changed.append(f"the files of systemd-networkd are other ones: {', '.join(changed)}")
            reload_networkd(self.around.run)

    # --- keys ---------------------------------------------------------------------------------------

    def _set_keys(self) -> None:
        if self.read.is_away:
            self.warnings.append("the SSH keys stay as they are, for their sources are on the config volume")
            return
        for account in ACCOUNTS:
            wanted = self._read_wanted(account) if account.has_keys else None
            user = self._find_user(account, has_keys=bool(wanted.keys)) if wanted else None
            if wanted and user:
                try:
                    self._replace_keys(account, user, wanted.keys)
                except AbctlError as error:
                    self.failures.append(error)

    def _source(self, account: Account) -> str:
        return f"{self.around.paths.config}/{KEYS}/{account.name}"

    def _read_wanted(self, account: Account) -> KeyList | None:
        """Return the keys that an account has to have; None where nobody knows.

        What is wrong with a source is no fault of this release, for the other slot set has it too: only a
        warning.
        """
        source = self._source(account)
        try:
            wanted = parse_keys(read_source(self.around.paths / source) or b"")
        except AbctlError as error:
            self.warnings.append(str(error))
            return None
        self.warnings += [f"{source}, {problem}" for problem in wanted.problems]
        if wanted.is_sound:
            return wanted
        self.warnings.append(
            f"{source} holds no key that can be used: the keys of {account.name} stay as they are"
        )
        return None

    def _find_user(self, account: Account, *, has_keys: bool) -> User | None:
        user = self.around.find_user(account.name)
        if user is None:
            problem = f"there is no user {account.name}, so its keys are not written"
        elif user.home != account.home:
            problem = (
                f"the home of {account.name} is {user.home} and not {account.home}: its keys are not written"
            )
        else:
            return user
        if has_keys:
            self.warnings.append(problem)
        return None

    def _replace_keys(self, account: Account, user: User, keys: Sequence[Key]) -> None:
        text = encode_keys(keys, self._source(account)) if keys else b""
        done = replace_keys(user, text, self.around.paths.root)
        before = {key.text: key for key in parse_keys(done.before).keys}
        now = {key.text: key for key in keys}
        said = [
            *done.notes,
            *(f"user {account.name} has the key {key.name}" for key in keys if key.text not in before),
            *(
                f"user {account.name} lost the key {key.name}"
                for key in before.values()
                if key.text not in now
            ),
        ]
        if done.changed and not said:
            said = [f"the keys of {account.name} were put in order"]
        self.changed += said


def apply_identity(around: Around) -> tuple[AppliedReport, AbctlError | None]:
    """Do all steps; return what came of them, and the first failure."""
    read = SettingsFile(around.paths).read()
    applying = Applying(around, read, find_identity(around, read))
    return applying.run(), next(iter(applying.failures), None)
