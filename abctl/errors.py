"""Everything that can go wrong, as one tree; each class has its own exit code.

A message is one sentence that names the thing and says what to do. ``docs/errors.md`` lists the codes.

    AbctlError                       1
    +-- HostProblem                  the host or disk is not as it should be
    |   +-- NotAHost                10   this machine was not started by abctl's GRUB, and no --disk was given
    |   +-- BadLayout               11   a layout file is wrong, or a disk does not have that layout
    |   +-- DiskUnusable            12   no such volume group, a missing physical volume, no such slot
    |   +-- RunningMismatch         13   kernel, root and boot of the running system are of different slot sets
    |   +-- InUse                   14   a slot that is to be written is mounted or open
    |   +-- Busy                    15   another abctl works on this host or disk
    |   +-- StateUnwritable         16   the boot environment cannot be written
    |   +-- ToolFailed              17   a program that abctl calls is missing or failed
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
    +-- BadRelease                   what was offered is not a sound release
    |   +-- BadManifest             30
    |   +-- BadArchive              31
    |   +-- DigestMismatch          32
    +-- SourceProblem                it could not be fetched
    |   +-- SourceNotFound          40
    |   +-- ServerFailed            41
    |   +-- TransferCut             42   fewer bytes than promised
    |   +-- TransferStalled         43
    |   +-- TransferTooLong         44   more bytes than promised or allowed
    +-- WriteProblem                 the target disk does not do what it should
    |   +-- WriteFailed             50
    |   +-- ReadBackMismatch        51
    +-- Interrupted                130   Ctrl-C or SIGTERM

Exit code 2 is a wrong command line; 3 is `disk check` having found differences.
"""


class AbctlError(Exception):
    """Any failure that has a sentence for the user."""

    exit_code = 1


class HostProblem(AbctlError):
    """The host or disk is not as it should be."""


class NotAHost(HostProblem):
    exit_code = 10


class BadLayout(HostProblem):
    exit_code = 11


class DiskUnusable(HostProblem):
    exit_code = 12


class RunningMismatch(HostProblem):
    exit_code = 13


class InUse(HostProblem):
    exit_code = 14


class Busy(HostProblem):
    exit_code = 15


class StateUnwritable(HostProblem):
    exit_code = 16


class ToolFailed(HostProblem):
    exit_code = 17


class Refused(AbctlError):
    """The request is understood and not carried out; nothing was written."""


class NotConfirmed(Refused):
    exit_code = 20


class WrongSlotSet(Refused):
    exit_code = 21


class VersionRefused(Refused):
    exit_code = 22


class DoesNotFit(Refused):
    exit_code = 23


class IncompatibleLayout(Refused):
    exit_code = 24


class NothingToConfirm(Refused):
    exit_code = 25


class NothingToRollBackTo(Refused):
    exit_code = 26


class Untrusted(Refused):
    exit_code = 27


class WouldOverwrite(Refused):
    exit_code = 28


class BadRelease(AbctlError):
    """What was offered is not a sound release."""


class BadManifest(BadRelease):
    exit_code = 30


class BadArchive(BadRelease):
    exit_code = 31


class DigestMismatch(BadRelease):
    exit_code = 32


class SourceProblem(AbctlError):
    """It could not be fetched."""


class SourceNotFound(SourceProblem):
    exit_code = 40


class ServerFailed(SourceProblem):
    exit_code = 41


class TransferCut(SourceProblem):
    exit_code = 42


class TransferStalled(SourceProblem):
    exit_code = 43


class TransferTooLong(SourceProblem):
    exit_code = 44


class WriteProblem(AbctlError):
    """The target disk does not do what it should."""


class WriteFailed(WriteProblem):
    exit_code = 50


class ReadBackMismatch(WriteProblem):
    exit_code = 51


class Interrupted(AbctlError):
    exit_code = 130
