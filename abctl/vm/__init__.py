"""The guest: its description, its libvirt XML, and its life."""
