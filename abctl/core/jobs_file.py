"""The form and place of the list of jobs that guests asked for, which ``agent.jobs`` reads and writes."""

from abctl.core.halves import Halves
from abctl.core.units import KIB

FORM = Halves("abctl-jobs 1", 16 * KIB)
PATH = "abctl/jobs"  # on the config volume
