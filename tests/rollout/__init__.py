"""A simulation of rollouts to a million hosts, in which the production code decides (`make rollout`)."""
