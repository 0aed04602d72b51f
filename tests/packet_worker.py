"""Runs in a network namespace and sends what its parent asks for: lists of packets in hex, and of outcomes.

An outcome is true where the packet left, false where the kernel's rules did not let it out.
"""

import json
import os
import socket
import sys


def send(four: socket.socket, six: socket.socket, data: bytes) -> bool:
    try:
        if data[0] >> 4 == 4:
            four.sendto(data, (socket.inet_ntop(socket.AF_INET, data[16:20]), 0))
        else:
            six.sendto(data, (socket.inet_ntop(socket.AF_INET6, data[24:40]), 0))
    except PermissionError:
        return False
    return True


def main() -> None:
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    print(json.dumps(os.getpid()), flush=True)
    # The namespace goes with this process, and this process with whoever started it.
    for line in sys.stdin:
        print(json.dumps([send(four, six, bytes.fromhex(item)) for item in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
