"""The Debian package, built from this tree by its one command, and two newer versions of it."""

import subprocess
from pathlib import Path

__all__ = ["build", "repacked"]

ROOT = Path(__file__).resolve().parents[2]
CONTROL, METADATA = "DEBIAN/control", "oodida-*.dist-info/METADATA"
SITE = "opt/oodida/app/lib/python3.11/site-packages"


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Build the package into a folder."""
    command = [ROOT / "systemd" / "build-deb", "--out", folder]
    return subprocess.run(command, capture_output=True, text=True)


def repacked(package: Path, version: str, target: Path, *, start: str = "") -> None:
    """Make a package of another version out of one; ``start`` takes the agent's place in it."""
    tree = target.with_suffix(".tree")
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    (metadata,) = (tree / SITE).glob(METADATA)
    for file in (tree / CONTROL, metadata):
        lines = file.read_text().splitlines()
        fresh = [f"Version: {version}" if x.startswith("Version: ") else x for x in lines]
        file.write_text("\n".join(fresh) + "\n")
    metadata.parent.rename(metadata.parent.with_name(f"oodida-{version}.dist-info"))
    (tree / "opt/oodida/app/VERSION").write_text(f"{version}\n")
    if start:
        (tree / "opt/oodida/app/bin/start-agent").write_text(start)
    pack = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, target]
    subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
