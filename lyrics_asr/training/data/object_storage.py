"""Lhotse Shar in object storage, read by URL: `s3://bucket/folder`, `gs://bucket/folder`.

pyarrow has the clients (`pyarrow.fs.FileSystem.from_uri`). They take credentials and endpoint from where the storage's
own tools do, such as `AWS_ACCESS_KEY_ID`, `AWS_PROFILE` and `AWS_ENDPOINT_URL`.
"""

import io
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from lhotse.serialization import (
    BuiltinIOBackend,
    CompositeIOBackend,
    GzipIOBackend,
    IOBackend,
    set_current_io_backend,
)

CutsPath = Path | str
"""A file of cuts or a folder of Shar on disk, or the URL of a folder of Shar."""

_READ_BYTES = 1 << 23  # per request; without a buffer, each block of a tar file would be one


def cuts_path(text: str) -> CutsPath:
    """The cuts that a configuration names."""
    return text if is_url(text) else Path(text)


def is_url(path: CutsPath) -> TypeGuard[str]:
    """Whether a path is a URL."""
    return isinstance(path, str) and "://" in path


def list_folder(url: str) -> list[str]:
    """The URLs of the files in a folder, sorted.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a URL of object storage.
        OSError: the storage cannot be reached, or refuses.
        ModuleNotFoundError: pyarrow is not installed.
    """
    from pyarrow import fs

    try:
        storage, folder = fs.FileSystem.from_uri(url)
        files = storage.get_file_info(fs.FileSelector(folder))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{url}: nothing is there; upload the shards, or correct the address") from error
    except ValueError as error:
        raise ValueError(f"{url}: cannot be read from there ({error}); give s3://BUCKET/FOLDER or gs://...") from error
    except OSError as error:
        raise OSError(
            f"{url}: cannot be listed ({error}); check the address, the credentials (AWS_ACCESS_KEY_ID, ...) and, for "
            "storage that is compatible with S3, AWS_ENDPOINT_URL"
        ) from error
    return sorted(f"{url.rstrip('/')}/{file.base_name}" for file in files)


@lru_cache(maxsize=1)
def let_lhotse_open_urls() -> None:
    """Make Lhotse open URLs with pyarrow, and files; and no longer run commands (its "pipe:")."""
    set_current_io_backend(CompositeIOBackend([_UrlBackend(), GzipIOBackend(), BuiltinIOBackend()]))


class _UrlBackend(IOBackend):  # type: ignore[misc]  # Lhotse has no types
    def open(self, identifier: str, mode: str) -> Any:  # a file
        from pyarrow import fs

        storage, path = fs.FileSystem.from_uri(identifier)
        stream = storage.open_input_stream(path, buffer_size=_READ_BYTES)  # decompressed by its name
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding="utf-8")

    def handles_special_case(self, identifier: CutsPath) -> bool:
        return is_url(identifier)

    def is_applicable(self, identifier: CutsPath) -> bool:
        return is_url(identifier)
