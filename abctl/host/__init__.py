"""The outside world: one thing a file. Nothing here decides, and only ``cli`` imports it."""
