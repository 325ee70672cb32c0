"""Which files of an output folder are ours to replace: those that are still as a run wrote them.

Conventions
- `.lyrics-asr.sha256` in the output folder has a line per written file, in the format of sha256sum. The line is
  appended before the file gets its name, so that a killed run does not leave a result that looks like a user's file.
- Lines are never removed. A file is ours if its contents equal any result that a run wrote under its name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lyrics_asr.files import append_line, atomic_path, file_fingerprint

LEDGER_NAME = ".lyrics-asr.sha256"


def may_replace(path: Path, folder: Path) -> bool:
    """Whether a result may be written to `path`: there is no file, or one that is still as a run wrote it."""
    if not path.is_file() and not path.is_symlink():
        return True
    try:
        line = _line(path, folder, file_fingerprint(path))
        return line in (folder / LEDGER_NAME).read_bytes().split(b"\n")
    except OSError:  # no ledger, or a file that cannot be read
        return False


@contextmanager
def own_path(path: Path, folder: Path) -> Iterator[Path]:
    """`files.atomic_path`, which also makes the file one of ours.

    Raises:
        OutputError: the file or the ledger cannot be written.
    """
    with atomic_path(path) as temporary:
        yield temporary
        append_line(folder / LEDGER_NAME, _line(path, folder, file_fingerprint(temporary)))


def _line(path: Path, folder: Path, digest: str) -> bytes:
    return f"{digest}  ".encode() + os.fsencode(path.relative_to(folder).as_posix())
