"""Why one try to fetch something failed, and in which words."""

import socket
import ssl
from typing import Any

import requests

from abctl.errors import ServerFailed, SourceProblem


class Failed(Exception):
    """One try at one mirror failed; ``problem`` is what it is for people, if no other try helps."""

    def __init__(
        self,
        problem: type[SourceProblem],
        said: str,
        advice: str,
        *,
        may_pass: bool = True,
        pause: float = 0.0,
    ) -> None:
        """``said`` names the server; ``pause`` in seconds is what it asks for before the next try."""
        super().__init__(f"{said}: {advice}")
        self.problem = problem
        self.said = said
        self.advice = advice
        self.may_pass = may_pass
        self.pause = pause


def explain_failure(error: Exception, host: str) -> Failed:
    """Return why ``host`` could not be reached; ``error`` is of requests or urllib3."""
    reason, advice, may_pass = _find_reason(error)
    return Failed(ServerFailed, f"{host} cannot be reached: {reason}", advice, may_pass=may_pass)


def find_root(error: BaseException) -> BaseException | None:
    """Return the system's own error: those that libraries make of it quote the URL, with its secrets."""
    seen = (found for found in _unwrap(error) if isinstance(found, OSError))
    return next((found for found in seen if not isinstance(found, requests.RequestException)), None)


def _find_reason(error: BaseException) -> tuple[str, str, bool]:
    """Return for people why a server could not be reached, what to do, and whether that may pass."""
    seen = _unwrap(error)
    for found in seen:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({found.verify_message})", "check the URL", False
        if isinstance(found, ssl.SSLError):
            return f"no TLS connection could be made ({found.reason})", "check the URL", False
        if isinstance(found, socket.gaierror):
            # A resolver that is away for a moment is EAI_AGAIN.
            may_pass = found.errno != socket.EAI_NONAME
            return "its name is not known", "check the URL and the network", may_pass
    for found in seen:
        if isinstance(found, OSError) and found.strerror and not isinstance(found, requests.RequestException):
            return found.strerror, "check the URL and the network", True
    # A URL that is none, as a redirect may give, stays so.
    return "it does not speak HTTP as it should", "check the URL", not isinstance(error, ValueError)


def _unwrap(error: BaseException) -> list[BaseException]:
    """Return all errors that this one was made of."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        item = todo.pop()
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            todo += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return seen
