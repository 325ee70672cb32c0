"""Atomic writes, hashes and names of files.

Readers see the old file or the complete new one. A full disk or Ctrl-C during a write leaves the old file unchanged,
and no temporary file.
"""

import contextlib
import errno
import gzip
import hashlib
import os
import secrets
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK_BYTES = 1 << 20

_NO_PERMISSION = "choose a folder that you may write to, or change its permissions"
_NO_SPACE = "free some space, or choose a folder on another disk"
_IN_THE_WAY = "choose another name, or remove what is in the way"
_REMEDIES = {
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: _NO_PERMISSION,
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: _NO_SPACE,
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENAMETOOLONG: "choose a shorter name",
}


class OutputError(OSError):
    """A file or folder that cannot be written; the message gives the path, the cause and the remedy."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, that is renamed to `path` when the block succeeds.

    The block must create the temporary file. Any exception, including KeyboardInterrupt, removes it and leaves an older
    `path` unchanged. Missing parent folders are created. File and folder are synced, so the new file survives a power
    failure.

    Raises:
        OutputError: no permission, no space, or a folder or file in the way, in the block or around it.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OutputError:
        raise
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_file(path: Path) -> None:
    """Wait until the contents of a file are on the disk.

    Raises:
        OSError: the file cannot be written, or the disk fails.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk, if the file system supports this.

    Raises:
        OSError: no such folder, or the disk fails.
    """
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    r"""Write `text` as UTF-8 with "\n" line ends, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def append_line(path: Path, line: bytes) -> None:
    """Append a line in one write, so that lines of concurrent processes do not mix.

    A line that a killed process left incomplete is ended first.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            is_torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" * bool(is_torn) + line + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _output_error(path, error) from error


@contextmanager
def open_packed(path: Path, level: int = 9) -> Iterator[gzip.GzipFile]:
    """A gzip file to write; its header has no name and time, so equal contents give equal files."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", level, raw, mtime=0) as packed:
        yield packed


def require_writable_folder(folder: Path) -> None:
    """Create `folder` if missing, and check that files can be written to it before the work starts.

    Raises:
        OutputError: the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _output_error(folder, error) from error


def file_fingerprint(path: Path) -> str:
    """A SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def composed(name: str) -> str:
    """A file's name in Unicode's composed form (NFC), to compare names: archives of macOS have decomposed ones."""
    return unicodedata.normalize("NFC", name)


def _output_error(path: Path, error: OSError) -> OutputError:
    cause = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "check the folder and the disk")
    return OutputError(f"{path}: cannot be written: {cause}; {remedy}")
