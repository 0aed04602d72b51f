"""The agent: what a guest asks over VSOCK, who may ask it, and the jobs that come of it."""
