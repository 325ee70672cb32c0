"""Read the tensors of a TensorFlow checkpoint without TensorFlow.

A checkpoint is a "tensor bundle" (tensorflow/core/util/tensor_bundle and protobuf/tensor_bundle.proto). `model.index`
is a sorted string table in LevelDB's format, from names to protobuf entries: type, shape, and the place in
`model.data-00000-of-00001`, which holds the bytes of all tensors.
"""

import struct
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_BLOCK_TRAILER_BYTES = 5  # compression type and CRC
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # DataType in tensorflow/core/framework/types.proto


def read_tensor_bundle(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """All tensors by name.

    Args:
        index: content of the `.index` file.
        data: content of the only `.data` file.

    Raises:
        ValueError: not a tensor bundle, or one with compressed blocks, several data files or other types.
    """
    footer = index[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("not the index of a TensorFlow checkpoint")
    position = 0
    for _ in range(2):  # the place of the meta index, which is not needed
        _, position = _varint(footer, position)
    blocks, _ = _block_handle(footer, position)
    tensors = {}
    for _, handle in _entries(_block(index, *blocks)):
        for name, value in _entries(_block(index, *_block_handle(handle, 0)[0])):
            if name:  # the entry without a name is the header
                tensors[name.decode()] = _tensor(value, data)
    return tensors


def _tensor(entry: bytes, data: bytes) -> np.ndarray:
    """The tensor of a BundleEntryProto: 1 type, 2 shape, 3 data file, 4 offset, 5 bytes."""
    fields = dict(_fields(entry))
    if fields.get(3, 0) != 0 or fields.get(1) not in _DTYPES:
        raise ValueError(f"unsupported entry in a TensorFlow checkpoint: {fields}")
    dimensions = [value for number, value in _fields(fields.get(2, b"")) if number == 2]
    shape = [dict(_fields(dimension)).get(1, 0) for dimension in dimensions]
    offset, size = fields.get(4, 0), fields[5]
    return np.frombuffer(data[offset : offset + size], dtype=_DTYPES[fields[1]]).reshape(shape)


def _block(index: bytes, offset: int, size: int) -> bytes:
    if index[offset + size] != 0:
        raise ValueError("the index of the TensorFlow checkpoint is compressed")
    return index[offset : offset + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key shares its beginning with the key before."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end, position, key = len(block) - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + length]
        position += length


def _block_handle(source: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(source, position)
    size, position = _varint(source, position)
    return (offset, size), position


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protobuf message: integers, or the bytes of texts and messages."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind, value = tag & 7, cast(Any, None)
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif kind == 5:
            position += 4  # the CRC, which the hash of the package makes needless
        else:
            raise ValueError(f"unsupported protobuf field of type {kind}")
        yield tag >> 3, value


def _varint(source: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = source[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
