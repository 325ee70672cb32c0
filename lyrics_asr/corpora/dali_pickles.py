"""DALI's gzipped pickles, unpacked without trust in them: unpickling as Python does it runs whatever a file asks for.

Conventions
- A pickle builds plain values, numpy's scalars as Python's numbers, and DALI's `Annotations` as the bare attributes.
- The names of classes and functions in a pickle are looked up among inert stand-ins alone. Any other is refused, and
  the message tells it; nothing that a pickle names is imported or run, and no stand-in can be changed by a pickle.
- No more than `MOST_BYTES` are unpacked. Memory is not limited otherwise: one list may be held any number of times, so
  whoever walks through the values limits how many, and a hostile file can number its values so high (the opcode
  LONG_BINPUT) that Python's table of them fills the memory.
"""

import gzip
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

MOST_BYTES = 32 * 2**20
"""Of a file when unpacked; a song of thousands of notes takes less than 1 MiB."""


def read_annotations(path: Path) -> Any:
    """Read the attributes of a song's pickled `DALI.Annotations.Annotations`.

    Returns:
        A dictionary in DALI's own files. A foreign file may have any value there, None included.

    Raises:
        ValueError: a file that is refused, damaged or of something else; the message names it and the cause.
    """
    unpickled = _unpickle(path)
    if not isinstance(unpickled, _Annotations):
        raise ValueError(f"{path}: holds no annotations but {type(unpickled).__name__}; keep it in another folder")
    return unpickled.state


def read_ground_truth(path: Path) -> dict[Any, Any]:
    """Read the dictionary of DALI's ground truth, by the songs' ids; its keys and values are not checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is refused, damaged or of something else; the message names it and the cause.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such ground truth; give DALI's file (gt_v1.0.gz) or leave it out")
    unpickled = _unpickle(path)
    if not isinstance(unpickled, dict):
        raise ValueError(f"{path}: no ground truth but {type(unpickled).__name__}; give DALI's file (gt_v1.0.gz)")
    return unpickled


def _unpickle(path: Path) -> Any:
    try:
        with gzip.open(path) as file:
            data = file.read(MOST_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged, or not a gzip file ({error}); download it again") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB, far more than DALI's files; not read")
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle can raise anything
        cause = str(error) or type(error).__name__
        raise ValueError(f"{path}: refused, or damaged: {cause}; download it again from DALI's own page") from error


class _Unpickler(pickle.Unpickler):
    """Builds plain values and stand-ins: the names in a pickle are looked up among these alone."""

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
    """A stand-in for a function; with no way to set a state, a pickle cannot change its attributes either."""

    __setstate__ = None


class _Bytes(_Stateless):
    """`_codecs.encode`: bytes, in pickles that Python 2 can read."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds bytes as {encoding!r:.80}, which DALI's files never do")
        return text.encode("latin1")


class _Dtype:
    """numpy's dtype of a single number."""

    def __init__(self, code: str, *_copying: Any) -> None:
        self.format = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}[code]

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">", "|": "="}[state[1]]


class _Scalar(_Stateless):
    """numpy's scalars as Python's numbers: later versions of DALI's code compute times and scores with numpy."""

    def __new__(cls, dtype: Any, data: bytes) -> Any:
        return struct.unpack(dtype.order + dtype.format, data)[0]


_STAND_INS: dict[str, Any] = {
    "DALI.Annotations.Annotations": _Annotations,
    "_codecs.encode": _Bytes,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _Scalar,
    "numpy._core.multiarray.scalar": _Scalar,
}
