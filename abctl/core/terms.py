"""What the publisher signs beside the digests: which hosts may take which release, and when.

It stands in the repository's ``targets`` metadata as fields of The Update Framework's ``custom`` kind, so
whoever cannot sign targets cannot change it: ``Terms`` with each release, ``Policy`` once for all. Times are
seconds since 1970. Unknown fields are kept out of the way: an older host must go on reading what a newer
publisher signs, but ``format`` tells when it may not.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from abctl.core import signed_dates
from abctl.core.problems import clean_text, describe_problem
from abctl.core.release import LayoutName
from abctl.core.units import TIME_END, VERSION_MAX, Seconds, Version, parse_version
from abctl.errors import BadMetadata

FIELD = signed_dates.FIELD
MANIFEST_PATH = "{version}/manifest.json"  # of a release, as a target's path
REASON_MAX = 200
WAVES_MAX = 32

_SIGNED = ConfigDict(extra="ignore", strict=True, frozen=True)

SignedVersion = Annotated[
    Version,
    Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9.+~_-]{{0,{VERSION_MAX - 1}}}$"),
    AfterValidator(parse_version),
]
Time = Annotated[Seconds, Field(ge=0, lt=TIME_END, description="seconds since 1970-01-01 00:00 UTC")]
Reason = Annotated[str, Field(max_length=REASON_MAX), AfterValidator(clean_text)]

_SHARE = re.compile(r"[01](\.[0-9]{1,9})?")


def _read_share(value: object) -> object:
    return float(value) if isinstance(value, str) and _SHARE.fullmatch(value) else value


def _write_share(share: float) -> str:
    return f"{share:.9f}".rstrip("0").rstrip(".")


# Canonical JSON, which is what signatures are made over, has no fractions: in JSON it is text such as "0.05".
Share = Annotated[
    float,
    BeforeValidator(_read_share),
    Field(ge=0, le=1),
    PlainSerializer(_write_share, return_type=str, when_used="json"),
]

_Model = TypeVar("_Model", bound=BaseModel)


class Wave(BaseModel):
    """``after`` so many seconds from the start, this ``share`` of all hosts may have taken the release."""

    model_config = _SIGNED

    after: Annotated[int, Field(ge=0, lt=TIME_END)]
    share: Share


class Rollout(BaseModel):
    """Who may take a release when: the share of hosts grows evenly from one wave to the next.

    ``paused_at`` stops the growth at what it was then; ``aborted`` stops everything, and says why.
    """

    model_config = _SIGNED

    start: Time
    waves: Annotated[tuple[Wave, ...], Field(min_length=1, max_length=WAVES_MAX, strict=False)]
    paused_at: Time | None = None
    aborted: Reason | None = None

    @model_validator(mode="after")
    def _waves_grow(self) -> "Rollout":
        for first, second in zip(self.waves, self.waves[1:], strict=False):
            if second.after <= first.after or second.share < first.share:
                raise ValueError("each wave must come after the one before and be no smaller")
        if self.start + self.waves[-1].after >= TIME_END:
            raise ValueError("the last wave must come before the year 10000")
        return self

    def share_at(self, now: float) -> float:
        """Return which share of all hosts may take the release at ``now``."""
        if self.aborted is not None:
            return 0.0
        if self.paused_at is not None:
            now = min(now, self.paused_at)
        passed = now - self.start
        if passed < self.waves[0].after:
            return 0.0
        for first, second in zip(self.waves, self.waves[1:], strict=False):
            if passed < second.after:
                part = (passed - first.after) / (second.after - first.after)
                return first.share + part * (second.share - first.share)
        return self.waves[-1].share

    def time_for(self, place: float) -> float | None:
        """Return when a host with this ``place`` from 0 to 1 may take it; None for not as things are."""
        if place >= self.share_at(math.inf):
            return None
        # There is one: no share is larger than that of the last wave.
        index = next(index for index, wave in enumerate(self.waves) if place < wave.share)
        wave = self.waves[index]
        before = self.waves[index - 1] if index else Wave(after=wave.after, share=0.0)
        part = (place - before.share) / (wave.share - before.share)
        return self.start + before.after + part * (wave.after - before.after)

    def resume(self, now: Seconds) -> "Rollout":
        """Return it as it goes on at ``now`` from where it was paused: the pause moves all waves.

        Without that the share would leap at once to where it had been without the pause.
        """
        passed = 0 if self.paused_at is None else max(0, now - self.paused_at)
        return Rollout(start=Seconds(self.start + passed), waves=self.waves, aborted=self.aborted)


class Sizes(BaseModel):
    """What the images of a release take in their slots, in bytes."""

    model_config = _SIGNED

    boot: Annotated[int, Field(gt=0)]
    root: Annotated[int, Field(gt=0)]


class Terms(BaseModel):
    """The terms of one release. ``needs`` is the oldest version that may go to it directly.

    ``download`` is what a host without any of it downloads at most, in bytes. By ``sizes`` a host sees early
    that it has no room; what an older abctl published lacks them.
    """

    model_config = _SIGNED

    format: Annotated[int, Field(ge=1, le=1)] = 1
    version: SignedVersion
    layouts: Annotated[tuple[LayoutName, ...], Field(min_length=1, max_length=16, strict=False)]
    published: Time
    download: Annotated[int, Field(ge=0)]
    sizes: Sizes | None = None
    needs: SignedVersion | None = None
    rollout: Rollout | None = None

    @property
    def path(self) -> str:
        return MANIFEST_PATH.format(version=self.version)


class Recall(BaseModel):
    """A version that no host shall take or keep."""

    model_config = _SIGNED

    version: SignedVersion
    reason: Reason
    at: Time


class Policy(BaseModel):
    """What holds for all releases: nothing older than ``floor``, and nothing that was recalled."""

    model_config = _SIGNED

    format: Annotated[int, Field(ge=1, le=1)] = 1
    floor: SignedVersion | None = None
    recalled: Annotated[tuple[Recall, ...], Field(max_length=1000, strict=False)] = ()

    def recall_of(self, version: Version | None) -> Recall | None:
        return next((recall for recall in self.recalled if recall.version == version), None)


def parse_terms(custom: object, path: str) -> Terms:
    """Return the terms of the target ``path``; raise BadMetadata."""
    terms = _parse(Terms, custom, f"targets: the terms of {path}")
    if terms.path != path:
        raise BadMetadata(
            f"targets: the terms of {path} are those of {terms.version}: the repository was put together "
            "wrongly; have it published again"
        )
    return terms


def parse_policy(fields: Mapping[str, Any]) -> Policy:
    """Return the policy among the unrecognized fields of targets; raise BadMetadata."""
    return _parse(Policy, fields[FIELD], "targets: the fields of the policy") if FIELD in fields else Policy()


def parse_issued(fields: Mapping[str, Any]) -> Seconds:
    """Return when metadata was signed, by its unrecognized fields; 0 where it does not say it."""
    return signed_dates.read_issued(fields)


def _parse(model: type[_Model], found: object, what: str) -> _Model:
    if isinstance(found, Mapping) and found.get("format", 1) != 1:
        raise BadMetadata(
            f"{what} have format {found['format']!r:.40}, which this abctl cannot read: upgrade it"
        )
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        problem = describe_problem(first["loc"], first["msg"])
        raise BadMetadata(f"{what} are not sound: {problem[:200]}: have them published again") from error
