"""The form of a layout file, checked field by field; ``schemas/`` is made from these classes.

Whether the parts go together is checked by ``layout.Layout`` itself.
"""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from abctl.core.layout import (
    ALIGNMENT_SECTORS,
    EXTENT_SECTORS,
    GPT_SECTORS,
    Filesystem,
    Layout,
    Role,
    make_layout,
)
from abctl.core.problems import describe_problems
from abctl.core.slot import Part, SlotName
from abctl.core.units import parse_size
from abctl.errors import BadLayout

_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"
_GPT_UUID = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_LVM_UUID = r"^[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}$"
_LARGEST = 2**50  # sectors or extents; far above any disk


def _size_from_text(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


GptName = Annotated[str, Field(pattern=_NAME, max_length=36)]
LvmName = Annotated[str, Field(pattern=_NAME, max_length=127)]
GptUuid = Annotated[str, Field(pattern=_GPT_UUID), AfterValidator(str.lower)]
LvmUuid = Annotated[str, Field(pattern=_LVM_UUID)]
Count = Annotated[int, Field(gt=0, le=_LARGEST)]
Size = Annotated[
    int,
    BeforeValidator(_size_from_text),
    Field(gt=0, le=_LARGEST * 512, json_schema_extra={"type": ["integer", "string"]}),
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _VolumeForm(_Form):
    slot_set: Annotated[SlotName | None, Field(strict=False)] = None
    part: Annotated[Part | None, Field(strict=False)] = None
    role: Annotated[Role | None, Field(strict=False)] = None
    filesystem: Annotated[Filesystem | None, Field(strict=False)] = None
    grow: Annotated[
        bool, Field(description="takes what the disk or the group has; only the last one can")
    ] = False

    @model_validator(mode="after")
    def _slot_is_whole(self) -> "_VolumeForm":
        if (self.slot_set is None) != (self.part is None):
            raise ValueError("slot_set and part go together")
        return self


class PartitionForm(_VolumeForm):
    """One partition; places in 512-byte sectors."""

    name: GptName
    start_sector: Annotated[int, Field(ge=GPT_SECTORS, le=_LARGEST)]
    sectors: Count
    type: Annotated[GptUuid, Field(description="type GUID")]
    uuid: GptUuid


class LogicalVolumeForm(_VolumeForm):
    """One logical volume; places in extents of the group."""

    name: LvmName
    start_extent: Annotated[int, Field(ge=0, le=_LARGEST)]
    extents: Count
    uuid: LvmUuid


class VolumeGroupForm(_Form):
    """The volume group on the partition whose role is volume-group."""

    name: LvmName
    uuid: LvmUuid
    pv_uuid: LvmUuid
    extent_sectors: Annotated[int, Field(ge=8, le=_LARGEST, multiple_of=8)] = EXTENT_SECTORS
    data_start_sector: Annotated[int, Field(ge=ALIGNMENT_SECTORS, le=_LARGEST)] = ALIGNMENT_SECTORS
    reserve: Annotated[Size | None, Field(description="bytes kept free for snapshots, or '20 GB'")] = None
    volumes: Annotated[tuple[LogicalVolumeForm, ...], Field(min_length=1, strict=False)]


class LayoutForm(_Form):
    """What a disk looks like."""

    model_config = ConfigDict(title="abctl disk layout")

    name: GptName
    size: Annotated[Size, Field(description="bytes of a disk made without --size, or '110 GiB'")]
    disk_uuid: GptUuid | None = None
    partitions: Annotated[tuple[PartitionForm, ...], Field(min_length=1, max_length=128, strict=False)]
    volume_group: VolumeGroupForm | None = None
    made_later: Annotated[
        tuple[GptName, ...],
        Field(strict=False, description="what the system itself adds after its first boot"),
    ] = ()


def parse_layout(values: dict[str, Any], where: str) -> Layout:
    """Return the layout in ``values`` (from TOML), or raise BadLayout naming ``where`` and every problem."""
    try:
        return make_layout(LayoutForm.model_validate(values).model_dump(exclude_none=True))
    except ValidationError as error:
        raise BadLayout(f"{where}: {describe_problems(error)}") from error
    except BadLayout as error:
        raise BadLayout(f"{where}: {error}") from error
