"""QEMU's control channel: a few commands, and the events that it tells."""

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

_LIMIT = 30.0  # seconds for an answer


class QmpError(AssertionError):
    """QEMU refused a command, or is gone."""


class Qmp:
    """Speaks JSON lines with one QEMU; events go to ``on_event`` in the reader's thread."""

    def __init__(self, channel: socket.socket, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        self._channel = channel
        self._on_event = on_event
        self._answers: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def command(self, name: str, **arguments: Any) -> Any:
        """Return the answer to a command; raise QmpError."""
        with self._changed:
            self._answers.clear()
            try:
                self._channel.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
            except OSError as error:
                raise QmpError(f"QEMU is gone: {error}") from error
            if not self._changed.wait_for(lambda: self._answers or self._is_over, _LIMIT) or self._is_over:
                raise QmpError(f"QEMU does not answer {name}")
            answer = self._answers.pop(0)
        if "error" in answer:
            raise QmpError(f"QEMU refuses {name}: {answer['error']}")
        return answer["return"]

    def wait_end(self, limit: float = 30) -> None:
        """Wait until QEMU is gone and all that it told has been taken."""
        self._thread.join(limit)

    def close(self) -> None:
        self._channel.close()
        self._thread.join(10)

    def _read(self) -> None:
        try:
            with self._channel.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(message["event"], message.get("data", {}))
        elif "return" in message or "error" in message:
            with self._changed:
                self._answers.append(message)
                self._changed.notify_all()
