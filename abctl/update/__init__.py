"""The data path: from a source to a slot, and the loop that performs effects."""
