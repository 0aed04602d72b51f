"""The whole sentence that an error tells, for the tests of what an admin is told."""

from collections.abc import Callable

import pytest


def told(failure: type[Exception], call: Callable[..., object], *arguments: object) -> str:
    """Return what ``call`` says when it fails so."""
    with pytest.raises(failure) as caught:
        call(*arguments)
    return str(caught.value)
