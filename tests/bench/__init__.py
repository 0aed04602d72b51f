"""Measures abctl against its peers: the same images, server and slots for all, in one run."""
