"""Make a release: pack images in chunks, index them, and make deltas from older releases."""
