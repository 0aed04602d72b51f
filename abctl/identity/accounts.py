"""The users that a host has beside those of Debian; usr/lib/sysusers.d/abctl-identity.conf makes them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """One user; ``has_keys`` where somebody may log in as it."""

    name: str
    home: str
    shell: str
    has_keys: bool = True


ACCOUNTS = (
    Account("backup", "/var/lib/backup", "/bin/bash"),
    Account("readonly", "/var/lib/readonly", "/bin/bash"),
    Account("admin", "/var/lib/admin", "/bin/bash"),
    Account("node_exporter", "/home/node_exporter", "/usr/sbin/nologin", has_keys=False),
)
