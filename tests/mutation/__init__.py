"""Small changes to the core, and whether the tests notice: `make mutation`."""
