"""A file in TOML as a value of its model, or one sentence on all that is wrong with it."""

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from abctl.core.problems import clean_text, describe_problems
from abctl.errors import AbctlError

_SAID_MAX = 200  # characters of what the parser says; a key may be as long as its file
_Model = TypeVar("_Model", bound=BaseModel)


def parse_toml(model: type[_Model], text: str, name: str, failure: type[AbctlError]) -> _Model:
    """Return what is in ``text``; raise ``failure``, naming ``name`` and every wrong field."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise failure(f"{name} is not TOML: {clean_text(str(error))[:_SAID_MAX]}") from error
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise failure(f"{name} is not sound: {describe_problems(error)}") from error
