"""Safe reader for DALI's gzipped pickles: Python's own unpickler would run any code that a file names.

Conventions
- A pickle can only build plain values. NumPy scalars become Python numbers, and DALI's `Annotations` its attributes.
- Classes and functions in a pickle are only resolved to inert stand-ins. Other names are refused, with a message.
  Nothing that a pickle names is imported or run, and a pickle cannot modify a stand-in.
- At most `MAX_BYTES` are decompressed. Memory is not limited otherwise: a list can contain itself or another list many
  times, so callers must limit how many values they visit; and a malicious file can use such high memo indices
  (LONG_BINPUT) that Python's memo table fills the memory.
"""

import gzip
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

MAX_BYTES = 32 * 2**20
"""Maximum decompressed size; a song with thousands of notes has less than 1 MiB."""


def read_annotations(path: Path) -> Any:
    """Read the attributes of a song's pickled `DALI.Annotations.Annotations`.

    Returns:
        A dictionary for DALI's own files; any value, including None, for other files.

    Raises:
        ValueError: the file is refused, damaged, or has other content; the message has file and cause.
    """
    unpickled = _unpickle(path)
    if not isinstance(unpickled, _Annotations):
        raise ValueError(f"{path}: contains {type(unpickled).__name__}, not annotations; move it to another folder")
    return unpickled.state


def read_ground_truth(path: Path) -> dict[Any, Any]:
    """Read DALI's ground truth, a dictionary by song id; keys and values are not checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is refused, damaged, or has other content; the message has file and cause.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such ground truth; give DALI's file (gt_v1.0.gz) or leave it out")
    unpickled = _unpickle(path)
    if not isinstance(unpickled, dict):
        raise ValueError(
            f"{path}: contains {type(unpickled).__name__}, not ground truth; give DALI's file (gt_v1.0.gz)"
        )
    return unpickled


def _unpickle(path: Path) -> Any:
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged, or not a gzip file ({error}); download it again") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES >> 20} MiB when decompressed, unlike DALI's files; not read")
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle can raise anything
        cause = str(error) or type(error).__name__
        raise ValueError(f"{path}: refused, or damaged: {cause}; download it again from DALI's own page") from error


class _Unpickler(pickle.Unpickler):
    """Builds plain values and stand-ins only."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which DALI's files never do")
        return _STAND_INS[f"{module}.{name}"]


class _Annotations:
    """DALI's class, without its methods."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Stateless:
    """A stand-in for a function. It has no `__setstate__`, so a pickle cannot set its attributes."""

    __setstate__ = None


class _Bytes(_Stateless):
    """Stand-in for `_codecs.encode`, which encodes bytes in pickles for Python 2."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds bytes as {encoding!r:.80}, which DALI's files never do")
        return text.encode("latin1")


class _Dtype:
    """Stand-in for NumPy's dtype of a scalar."""

    def __init__(self, code: str, *_copying: Any) -> None:
        self.format = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}[code]

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">", "|": "="}[state[1]]


class _Scalar(_Stateless):
    """NumPy scalars as Python numbers; later versions of DALI's code compute times and scores with NumPy."""

    def __new__(cls, dtype: Any, data: bytes) -> Any:
        return struct.unpack(dtype.order + dtype.format, data)[0]


_STAND_INS: dict[str, Any] = {
    "DALI.Annotations.Annotations": _Annotations,
    "_codecs.encode": _Bytes,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _Scalar,
    "numpy._core.multiarray.scalar": _Scalar,
}
