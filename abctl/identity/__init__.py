"""What makes a host this one: its management MAC, the addresses that follow from it, and who may log in."""
