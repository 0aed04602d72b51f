"""abctl: the A/B upgrade and boot-slot manager for Linux hypervisor hosts."""
