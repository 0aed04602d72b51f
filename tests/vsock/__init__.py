"""A VSOCK device for a real guest in QEMU, in user space.

QEMU's vhost-user-vsock-pci is on one side, Unix sockets are on the other. It needs no module of this
machine's kernel, no KVM and no root.

packets     what goes over the queues (virtio specification 1.2, section 5.10.6)
queues      the guest's memory, and the rings in it (section 2.7)
vhost_user  what QEMU says about both (QEMU's docs/interop/vhost-user.rst)
device      connections, their credit, and the Unix sockets that they lead to
guest       a small Linux that asks over AF_VSOCK, and QEMU around it
"""
