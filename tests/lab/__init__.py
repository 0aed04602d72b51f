"""The lab: a whole Debian system in QEMU that lives through abctl's life; `make lab` runs it."""
