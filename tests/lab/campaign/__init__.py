"""The campaign: the power goes at random moments of whole upgrades, and what comes back is counted."""
