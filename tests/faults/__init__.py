"""All faults that `make mutants` puts in."""

from tests.faults import agent, boot, data, firewall, state, trial
from tests.faults.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS = (
    *boot.MUTANTS,
    *state.MUTANTS,
    *data.MUTANTS,
    *trial.MUTANTS,
    *firewall.MUTANTS,
    *agent.MUTANTS,
)
