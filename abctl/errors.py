"""Everything that can go wrong, as one tree; each class has its own exit code.

A message is one sentence that names the thing and says what to do. ``docs/errors.md`` lists the codes.

    AbctlError                       1
    +-- HostProblem                  the host or disk is not as it should be
    |   +-- NotAHost                10   this machine was not started by abctl's GRUB, and no --disk was given
    |   +-- BadLayout               11   a layout file is wrong, or a disk is too small for it
    |   +-- DiskUnusable            12   no such volume group, a missing physical volume, no such slot
    |   +-- RunningMismatch         13   kernel, root and /boot that run are of different slot sets
    |   +-- InUse                   14   a slot that is to be written is mounted or open
    |   +-- Busy                    15   another abctl works on this host or disk
    |   +-- StateUnwritable         16   the boot environment cannot be written
    |   +-- ToolFailed              17   a program that abctl calls is missing or failed
    |   +-- NotAdopted              18   GRUB does not run abctl's scripts
    |   +-- BadConfig               19   config.toml, or a file it names, is wrong
    +-- Refused                      the request is understood and not carried out; nothing was written
    |   +-- NotConfirmed            20   a trial has not ended yet
    |   +-- WrongSlotSet            21   the running slot set is not the primary
    |   +-- VersionRefused          22   this version fell back or was given up before
    |   +-- DoesNotFit              23   an image is larger than its slot
    |   +-- IncompatibleLayout      24   the release is for other layouts
    |   +-- NothingToConfirm        25   the running slot set is not on trial
    |   +-- NothingToRollBackTo     26   the other slot set is not known to be good
    |   +-- Untrusted               27   nothing says which bytes are the right ones
    |   +-- WouldOverwrite          28   a file is in the way
    |   +-- NothingToDo             29   what was asked for is so already
    |   +-- DownloadTooLarge        60   more would be downloaded than is allowed
    |   +-- NotConsidered           61   the publisher's terms or this host's past speak against a release
    |   +-- NoRepository            62   no signed repository is configured
    |   +-- BadKey                  63   a signing key that cannot be used
    |   +-- BadTree                 64   what an image is to be made of cannot be used
    |   +-- BadRecipe               65   the recipe of an image is wrong
    |   +-- BadIdentity             66   a MAC address, prefix, node-id or other part of an identity is wrong
    |   +-- BadFirewall             67   a firewall policy, or a file that fills one of its sets, is wrong
    |   +-- AgentRefused            68   the agent of a host refuses what it was asked
    +-- BadRelease                   what was offered is not a sound release
    |   +-- BadManifest             30
    |   +-- BadArchive              31
    |   +-- DigestMismatch          32
    |   +-- BadIndex                33   a chunk index, block index or delta
    |   +-- BadMetadata             34   signed metadata that is not sound
    |   +-- NotSigned               35   too few of the keys that have to signed it
    |   +-- Expired                 36   signed metadata is too old
    |   +-- Replayed                37   signed metadata is older than what was seen before
    +-- SourceProblem                it could not be fetched
    |   +-- SourceNotFound          40
    |   +-- ServerFailed            41
    |   +-- TransferCut             42   fewer bytes than promised
    |   +-- TransferStalled         43
    |   +-- TransferTooLong         44   more bytes than promised or allowed
    |   +-- SourceChanged           45   a file became another one meanwhile
    +-- WriteProblem                 the target disk does not do what it should
    |   +-- WriteFailed             50
    |   +-- ReadBackMismatch        51
    +-- GuestProblem                 the guest is not as it should be
    |   +-- BadGuest                70   guest.toml is wrong
    |   +-- GuestUnfit              71   the machine lacks what the guest needs
    |   +-- NoHypervisor            72   libvirt is not there, or does not answer
    |   +-- ForeignDomain           73   a domain with the guest's name or UUID is not abctl's
    |   +-- GuestNotReady           74   the guest did not say that it is healthy
    |   +-- GuestNotRunning         75   there is no running guest
    |   +-- GuestFellBack           76   the guest went back to its other slot set
    |   +-- DeviceProblem           77   a USB device is not there, or attached already
    +-- Interrupted                130   Ctrl-C, SIGTERM or a lost terminal

Exit code 2 is a wrong command line; 3 is `disk check` or `firewall diff` having found differences, `doctor`
a fault, or `health` a required check that failed.
"""


class AbctlError(Exception):
    """Any failure that has a sentence for the user.

    What to do: read the sentence; if it says that this is a fault in abctl, run the command again
    with --debug and report it.
    """

    exit_code = 1


class HostProblem(AbctlError):
    """The host or disk is not as it should be."""


class NotAHost(HostProblem):
    """This machine was not started by abctl's GRUB, and no --disk was given.

    What to do: run abctl on the host itself, or name a disk image or device with --disk.
    """

    exit_code = 10


class BadLayout(HostProblem):
    """A layout file is wrong, or a disk is too small for it.

    What to do: mend the fields that the sentence names; 'abctl disk check' compares a disk with a
    layout.
    """

    exit_code = 11


class DiskUnusable(HostProblem):
    """The disk lacks something: a partition, the volume group, a physical volume, a slot.

    What to do: check that this is the right disk, and that all of it is there; 'abctl disk check'
    names what is missing.
    """

    exit_code = 12


class RunningMismatch(HostProblem):
    """The kernel, the root file system and /boot of the running system are of different slot sets.

    What to do: reboot; nothing is changed from a mixed system.
    """

    exit_code = 13


class InUse(HostProblem):
    """A slot that is to be written is mounted or open.

    What to do: unmount it, or stop the program or virtual machine that has it open.
    """

    exit_code = 14


class Busy(HostProblem):
    """Another abctl changes this host or disk, or changed it meanwhile.

    What to do: wait until it has ended, then run the command again.
    """

    exit_code = 15


class StateUnwritable(HostProblem):
    """The boot environment cannot be written, so nothing else was either.

    What to do: check the grub partition: is it mounted writable, is its file system sound, does the
    disk report errors?
    """

    exit_code = 16


class ToolFailed(HostProblem):
    """A program that abctl calls is missing or failed.

    What to do: install what is missing, or mend what the program complains about.
    """

    exit_code = 17


class NotAdopted(HostProblem):
    """GRUB does not run abctl's scripts, as on a host that the older system made.

    What to do: run 'abctl adopt' once.
    """

    exit_code = 18


class BadConfig(HostProblem):
    """The host's configuration, or a file that it names, is missing or wrong.

    What to do: mend the fields that the sentence names.
    """

    exit_code = 19


class Refused(AbctlError):
    """The request is understood and not carried out; nothing was written."""


class NotConfirmed(Refused):
    """A trial has not ended yet, and an installation would destroy the way back.

    What to do: keep the trial with 'abctl confirm', or end it with 'abctl rollback'.
    """

    exit_code = 20


class WrongSlotSet(Refused):
    """The running slot set is not the primary, so no slot set is free to be written.

    What to do: reboot into the primary, or give it up with 'abctl mark-bad'.
    """

    exit_code = 21


class VersionRefused(Refused):
    """This version fell back, or was given up, on this host before.

    What to do: install a mended release; 'abctl allow VERSION' lets this one in again.
    """

    exit_code = 22


class DoesNotFit(Refused):
    """An image is larger than its slot.

    What to do: take a release that is made for this disk's layout.
    """

    exit_code = 23


class IncompatibleLayout(Refused):
    """The release is for other layouts.

    What to do: take a release whose manifest names this disk's layout.
    """

    exit_code = 24


class NothingToConfirm(Refused):
    """The running slot set is not on trial.

    What to do: look at 'abctl status': a trial that waits has to be booted first.
    """

    exit_code = 25


class NothingToRollBackTo(Refused):
    """The other slot set is not known to be good.

    What to do: look at 'abctl status', and install the release you want with 'abctl upgrade'.
    """

    exit_code = 26


class Untrusted(Refused):
    """Nothing says which bytes are the right ones.

    What to do: give the SHA-256 of the archive, or of manifest.json, with --sha256.
    """

    exit_code = 27


class WouldOverwrite(Refused):
    """A file is in the way.

    What to do: take another name, or remove the file if it is not needed.
    """

    exit_code = 28


class NothingToDo(Refused):
    """What was asked for is so already.

    What to do: look at 'abctl status'; perhaps another version or slot set was meant.
    """

    exit_code = 29


class DownloadTooLarge(Refused):
    """More would be downloaded than --max-download allows.

    What to do: allow more, or have a delta published from what this host has; 'abctl upgrade --dry-run'
    shows what each way would cost. What was written already is not fetched again.
    """

    exit_code = 60


class NotConsidered(Refused):
    """The publisher's terms, or this host's past, speak against the release.

    What to do: 'abctl check' lists what is on offer and why not; an admin may override a reason with
    --override, which is recorded.
    """

    exit_code = 61


class NoRepository(Refused):
    """No signed repository is configured, so nothing says what to install.

    What to do: name its mirrors in /etc/abctl/config.toml and put its root.json beside it.
    """

    exit_code = 62


class BadKey(Refused):
    """A signing key cannot be used: it is no key, its passphrase is wrong, or it is for another role.

    What to do: give the key file and the passphrase that belong together; 'abctl release keys show' lists
    which keys each role has.
    """

    exit_code = 63


class BadTree(Refused):
    """The tree that an image is to be made of lacks something, or has what cannot be in an image.

    What to do: mend the tree, or the recipe that it is made by, as the sentence says.
    """

    exit_code = 64


class BadRecipe(Refused):
    """The recipe of an image is wrong.

    What to do: mend the fields that the sentence names; schemas/recipe.schema.json describes all of them.
    """

    exit_code = 65


class BadIdentity(Refused):
    """A part of the identity that a host was told, or that was asked for, is wrong.

    What to do: mend what the sentence names; 'abctl identity show' says what the host goes by.
    """

    exit_code = 66


class BadFirewall(Refused):
    """A firewall policy, or a file that fills one of its sets, is wrong.

    What to do: mend what the sentence names; 'abctl firewall check' reads it without loading it.
    """

    exit_code = 67


class AgentRefused(Refused):
    """The agent of a host does not do what it was asked.

    What to do: read its reason; [agent] in the config.toml of that host says who may ask what.
    """

    exit_code = 68


class BadRelease(AbctlError):
    """What was offered is not a sound release."""


class BadManifest(BadRelease):
    """manifest.json is not what a release's manifest has to be.

    What to do: mend the fields that the sentence names, or have the release published again.
    """

    exit_code = 30


class BadArchive(BadRelease):
    """The archive is damaged, or holds something else than an update image.

    What to do: fetch or build it again; the running system was not touched.
    """

    exit_code = 31


class DigestMismatch(BadRelease):
    """The bytes are not those that the SHA-256 promises.

    What to do: compare the SHA-256 with its publisher, then fetch the release again.
    """

    exit_code = 32


class BadIndex(BadRelease):
    """A chunk index, block index or delta does not go with its image.

    What to do: have the release built and published again.
    """

    exit_code = 33


class BadMetadata(BadRelease):
    """Signed metadata is not what it has to be, or does not go together.

    What to do: have the repository published again; if only one mirror has it, mend that mirror.
    """

    exit_code = 34


class NotSigned(BadRelease):
    """Metadata is not signed by as many as have to of the keys that this host trusts.

    What to do: do not install from there; ask the publisher whether keys were changed, and whether this
    host's root.json is of that repository.
    """

    exit_code = 35


class Expired(BadRelease):
    """Signed metadata is past its date: the repository is not kept up, or somebody withholds what is newer.

    What to do: check this host's clock; then have the publisher run 'abctl release renew', or take another
    mirror.
    """

    exit_code = 36


class Replayed(BadRelease):
    """Signed metadata is older than what this host has seen before.

    What to do: take another mirror; if all of them are like this, the repository was set back.
    """

    exit_code = 37


class SourceProblem(AbctlError):
    """The release could not be fetched."""


class SourceNotFound(SourceProblem):
    """There is no such file or address.

    What to do: check the path or URL.
    """

    exit_code = 40


class ServerFailed(SourceProblem):
    """The server answered with an error, sent abctl around in circles, or could not be reached.

    What to do: check the address and the network, then run the command again.
    """

    exit_code = 41


class TransferCut(SourceProblem):
    """The transfer ended with fewer bytes than promised.

    What to do: run the command again.
    """

    exit_code = 42


class TransferStalled(SourceProblem):
    """No byte arrived for too long.

    What to do: check the network and the server, then run the command again.
    """

    exit_code = 43


class TransferTooLong(SourceProblem):
    """The server sent more bytes than promised or allowed.

    What to do: do not trust this server's release: compare it with its publisher.
    """

    exit_code = 44


class SourceChanged(SourceProblem):
    """A file became another one while it was being fetched.

    What to do: wait until the new release is published whole, then run the command again.
    """

    exit_code = 45


class WriteProblem(AbctlError):
    """The target disk does not do what it should."""


class WriteFailed(WriteProblem):
    """A write, or a read of what was written, failed.

    What to do: check the disk's health and free space; the running system was not touched.
    """

    exit_code = 50


class ReadBackMismatch(WriteProblem):
    """The disk holds something else than was written.

    What to do: replace the disk: it does not keep what it is given.
    """

    exit_code = 51


class GuestProblem(AbctlError):
    """The guest is not as it should be."""


class BadGuest(GuestProblem):
    """The description of the guest is missing or wrong.

    What to do: mend the fields of guest.toml that the sentence names; 'abctl guest xml' reads it without
    starting anything.
    """

    exit_code = 70


class GuestUnfit(GuestProblem):
    """The machine lacks what the guest needs: processors, memory, a disk, a bridge, firmware, KVM.

    What to do: give the machine what is missing, or ask for less in guest.toml.
    """

    exit_code = 71


class NoHypervisor(GuestProblem):
    """libvirt is not installed, or its daemon does not answer.

    What to do: install libvirt-daemon-system and python3-libvirt, and start libvirtd.
    """

    exit_code = 72


class ForeignDomain(GuestProblem):
    """A domain with the guest's name or UUID was not made by abctl, which leaves it alone.

    What to do: remove or rename that domain, or give the guest another name and UUID in guest.toml.
    """

    exit_code = 73


class GuestNotReady(GuestProblem):
    """The guest did not say that it is healthy, or said that it is not.

    What to do: read what it said last with 'abctl guest console --log'.
    """

    exit_code = 74


class GuestNotRunning(GuestProblem):
    """There is no running guest.

    What to do: start it with 'abctl guest start'.
    """

    exit_code = 75


class GuestFellBack(GuestProblem):
    """The guest did not get healthy with its new release, and runs the one before.

    What to do: 'abctl guest status' says why; install a mended release.
    """

    exit_code = 76


class DeviceProblem(GuestProblem):
    """A USB device is not plugged in, or the guest has it already, or has it not.

    What to do: look at 'lsusb' on the host.
    """

    exit_code = 77


class Interrupted(AbctlError):
    """Ctrl-C, SIGTERM or a lost terminal ended the command.

    What to do: 'abctl status' says what the other slot set holds; run the command again to start
    over.
    """

    exit_code = 130
