"""What each tool runs to install v2, as a script; each runs with bash in an empty folder of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.packing import ABCTL, COMPATIBLE, FILES, KEYS, image, manifest_sha256
from tests.bench.server import Server
from tests.bench.slots import Target
from tests.bench.trees import CACHE, run

Script = Callable[[Server, Target], str]


@dataclass(frozen=True, slots=True)
class Tool:
    """``kind`` is abctl, pipeline, updater, delta or floor; ``images`` then stand in the slots."""

    name: str
    kind: str
    script: Script
    images: tuple[str, ...] = ("boot", "root")


def _abctl(source: str, *options: str, version: str = "abctl-v2") -> Script:
    def script(server: Server, target: Target) -> str:
        url = {"http": server.http, "https": server.https, "slow": server.slow}[source]
        sha256 = manifest_sha256(version)
        return (
            f"exec {Path(ABCTL).resolve()} --disk {target.whole} --booted A upgrade {url}/{version}/ "
            f"--sha256 {sha256} --ca-file {server.ca} --no-reboot --quiet --json {' '.join(options)}"
        )

    return script


def _older(server: Server, target: Target) -> str:
    return (
        f"curl -sf -o update.tar.zst {server.http}/update-img.tar.zst\nsha256sum update.tar.zst >/dev/null\n"
        "mkdir x; tar -C x -I zstd -xf update.tar.zst; rm update.tar.zst\n"
        f"dd if=x/boot.img of={target.boot} bs=1M conv=fsync status=none\n"
        f"dd if=x/root.img of={target.root} bs=1M conv=fsync status=none\n"
    )


def _pipeline(server: Server, target: Target) -> str:
    return "".join(
        f"curl -sf {server.http}/{part}.img.zst | tee >(openssl dgst -sha256 >digest) | zstd -dc | "
        f"dd of={device} bs=1M iflag=fullblock oflag=direct conv=fsync status=none\n"
        for part, device in (("boot", target.boot), ("root", target.root))
    )


def _bmaptool(server: Server, target: Target) -> str:
    return "".join(
        f"bmaptool -q copy --bmap {FILES.resolve()}/{part}.img.bmap {server.http}/{part}.img.zst {device}\n"
        for part, device in (("boot", target.boot), ("root", target.root))
    )


def _swupdate(server: Server, target: Target) -> str:
    # The bundle names these links, for it was packed before it was known which devices there will be.
    places = {name: (CACHE / f"device-{name}").absolute() for name in ("boot", "root")}
    links = f"ln -sfn {target.boot} {places['boot']}\nln -sfn {target.root} {places['root']}\n"
    key = KEYS.resolve() / "cert.pem"
    return (
        f"{links}export TMPDIR=$PWD\nswupdate -l 1 -H bench:1.0 -k {key} -d '-u {server.http}/update.swu'\n"
    )


def _rauc(server: Server, target: Target) -> str:
    return f"""
cat >system.conf <<END
[system]
compatible={COMPATIBLE}
bootloader=noop
max-bundle-download-size=4294967296
mountprefix=$PWD/mnt
statusfile=$PWD/status
[keyring]
path={KEYS.resolve()}/cert.pem
[slot.boot.0]
device=/dev/null
type=raw
parent=rootfs.0
[slot.boot.1]
device={target.boot}
type=raw
parent=rootfs.1
[slot.rootfs.0]
device=/dev/null
type=raw
bootname=A
[slot.rootfs.1]
device={target.root}
type=raw
bootname=B
END
mkdir mnt; export TMPDIR=$PWD
cat >session <<'END'
export DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS
rauc --conf=system.conf --override-boot-slot=A service >service.log 2>&1 & service=$!
for _ in $(seq 50); do rauc status >/dev/null 2>&1 && break; sleep 0.1; done
rauc install {server.http}/update.raucb >install.log 2>&1; code=$?
kill $service; wait $service
exit $code
END
dbus-run-session -- bash session
"""


def _casync(server: Server, target: Target) -> str:
    return (
        f"casync extract --store={server.http}/casync/store.castr --seed={image('root', 'v1').resolve()} "
        f"{server.http}/casync/root.caibx {target.root}\nsync {target.root}\n"
    )


def _floor_write(server: Server, target: Target) -> str:
    return f"dd if={image('root').resolve()} of={target.root} bs=4M oflag=direct conv=fsync status=none\n"


def _floor_unpack(server: Server, target: Target) -> str:
    return f"zstd -dc {FILES.resolve()}/root.img.zst >/dev/null\n"


def _floor_fetch(server: Server, target: Target) -> str:
    return f"curl -sf -o /dev/null {server.http}/root.img.zst\n"


def _floor_hash(server: Server, target: Target) -> str:
    return f"openssl dgst -sha256 {image('root').resolve()} >/dev/null\n"


def _no_read_back(server: Server, target: Target) -> str:
    """Leave out the reading back, from outside: abctl itself has no way to."""
    script = _abctl("http", "--no-delta")(server, target)
    program = (
        "from abctl.update.chunk_writer import ChunkWriter as W; import sys; "
        "W.read_back_some = lambda w: None; W.read_back_rest = lambda w: w._volume.flush(); "
        "from abctl.cli import main; sys.argv[0] = 'abctl'; main()"
    )
    command = str(Path(ABCTL).resolve())
    return script.replace(f"exec {command}", f'exec {Path(ABCTL).resolve().parent}/python -c "{program}"')


WITHOUT_READ_BACK = Tool("abctl, full, not read back", "abctl", _no_read_back)
REINSTALL = Tool("abctl, of what is there", "abctl", _abctl("http", "--no-delta"))
BLOCKS = Tool("abctl, by blocks", "abctl", _abctl("http", version="abctl-v2-alone"))

TOOLS = (
    Tool("abctl, full", "abctl", _abctl("http", "--no-delta")),
    WITHOUT_READ_BACK,
    Tool("abctl, full, HTTPS", "abctl", _abctl("https", "--no-delta")),
    Tool("abctl, delta", "abctl", _abctl("http")),
    BLOCKS,
    Tool("pipeline: curl, openssl, zstd, dd", "pipeline", _pipeline),
    Tool("curl, sha256sum, tar, dd", "pipeline", _older),
    Tool("bmaptool", "updater", _bmaptool),
    Tool("SWUpdate", "updater", _swupdate),
    Tool("RAUC", "updater", _rauc),
    Tool("casync with seed (root only)", "delta", _casync, ("root",)),
)

LINK = (
    Tool("abctl, full, 100 Mbit/s", "abctl", _abctl("slow", "--no-delta")),
    Tool("abctl, delta, 100 Mbit/s", "abctl", _abctl("slow")),
)

FLOORS = (
    Tool("floor: write 4 GiB, direct", "floor", _floor_write, ()),
    Tool("floor: zstd -d of root", "floor", _floor_unpack, ()),
    Tool("floor: download of root", "floor", _floor_fetch, ()),
    Tool("floor: SHA-256 of root by openssl", "floor", _floor_hash, ()),
)


def versions() -> dict[str, str]:
    """Return the version of each peer."""
    lines = run(
        "dpkg-query",
        "-W",
        "-f",
        "${Package} ${Version}\n",
        "rauc",
        "swupdate",
        "bmap-tools",
        "casync",
        "zstd",
    )
    return dict(line.split() for line in lines.splitlines())
