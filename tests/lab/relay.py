"""Started by QEMU for each connection of a guest: joins its standard input and output to a port here."""

import os
import select
import socket
import sys

PIECE = 64 * 1024


def main() -> None:
    """Carry bytes both ways until either side is through."""
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
        while True:
            ready, _, _ = select.select([0, server.fileno()], [], [])
            if 0 in ready:
                data = os.read(0, PIECE)
                if not data:
                    return
                server.sendall(data)
            if server.fileno() in ready:
                data = server.recv(PIECE)
                if not data:
                    return
                while data:
                    data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
