import builtins
import gzip
import os
import pickle
import sys
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest

from lyrics_asr.corpora import dali_pickles
from lyrics_asr.corpora.dali_pickles import MAX_BYTES, read_annotations, read_ground_truth

CONTENT = {"info": {"id": "a", "audio": {"working": True}}, "annotations": {"annot": {"words": [{"time": (1.5, 2.0)}]}}}


class Annotations:
    """DALI's class as far as pickle is concerned: its name and its attributes."""

    def __init__(self, content):
        self.info, self.annotations, self.errors = content["info"], content["annotations"], None


Annotations.__module__ = "DALI.Annotations"


class Call:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def pickled(value, protocol=2):
    module = ModuleType("DALI.Annotations")
    module.Annotations = Annotations
    with patch.dict(sys.modules, {"DALI": ModuleType("DALI"), "DALI.Annotations": module}):
        return pickle.dumps(value, protocol=protocol)


def stack_global(module, name):
    """The opcodes that look a name up."""
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"


def pickled_state(state):
    """Annotations with a state of any kind; None for none."""
    build = b"" if state is None else pickle.dumps(state, 2)[2:-1] + b"b"
    return b"\x80\x04" + stack_global("DALI.Annotations", "Annotations") + b")\x81" + build + b"."


@pytest.fixture
def packed(tmp_path):
    """Writes a pickle to a file as DALI packs it."""

    def write(data):
        path = tmp_path / "song.gz"
        path.write_bytes(gzip.compress(data, 1))
        return path

    return write


# ---- What DALI's files hold ----


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_annotations_are_read_without_their_class(packed, protocol):
    state = read_annotations(packed(pickled(Annotations(CONTENT), protocol)))
    assert state == CONTENT | {"errors": None}
    assert "DALI" not in sys.modules


@pytest.mark.parametrize("state", [None, [1], (None, {"info": {}}), "text", {"info": 1}])
def test_the_state_of_annotations_is_read_as_it_is(packed, state):
    assert read_annotations(packed(pickled_state(state))) == state


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_ground_truth_is_read(packed, protocol):
    clocks = {"a": {"offset": 11, "fr": 300.25}, "b": {"offset": -0.5, "fr": 10**400}}
    assert read_ground_truth(packed(pickle.dumps(clocks, protocol))) == clocks


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("scalar", "number"),
    [
        (np.float64(1 / 3), 1 / 3),
        (np.float32(0.75), 0.75),
        (np.int64(-(2**40)), -(2**40)),
        (np.int32(-7), -7),
        (np.bool_(True), True),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_numpy_scalars_and_bytes_are_read_as_plain_values(packed, protocol, scalar, number):
    data = pickled(Annotations({"info": {"scores": {"NCC": scalar}}, "annotations": [(scalar,)]}), protocol)
    assert b"scalar" in data or type(scalar) is bytes
    state = read_annotations(packed(data))
    for value in (state["info"]["scores"]["NCC"], state["annotations"][0][0]):
        assert (type(value), value) == (type(number), number)


def test_a_big_endian_scalar_keeps_its_value(packed):
    """Numpy pickles its scalars in the machine's own order; these are the opcodes of a machine of the other one."""
    dtype = (
        stack_global("numpy", "dtype")
        + b"\x8c\x02f8K\x00K\x01\x87R(K\x03\x8c\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    data = stack_global("numpy.core.multiarray", "scalar") + dtype + b"C\x08" + np.array(600.5, ">f8").tobytes()
    assert pickle.loads(b"\x80\x04" + data + b"\x86R.") == 600.5
    assert read_ground_truth(packed(b"\x80\x04}\x8c\x01a" + data + b"\x86Rs.")) == {"a": 600.5}


# ---- What is refused ----


@pytest.mark.parametrize("read", [read_annotations, read_ground_truth])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "place",
    [
        lambda thing: thing,
        lambda thing: Annotations(CONTENT | {"annotations": {"annot": {"words": [{"text": thing}]}}}),
        lambda thing: {"a": (thing,)},
    ],
    ids=["bare", "annotations", "nested"],
)
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "system"), (builtins.eval, "eval"), (builtins.getattr, "getattr")]
)
def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(packed, tmp_path, read, protocol, place, function, name):
    command = f"touch {tmp_path}/pwned" if name == "system" else f"open({str(tmp_path / 'pwned')!r}, 'w')"
    thing = place(Call(function, command, *(["x"] if name == "getattr" else [])))
    path = packed(pickled(thing, protocol))
    # Protocol 0 has no opcode for a new object and names a function that makes one before all else.
    refused = r"copy_reg\._reconstructor" if protocol == 0 and isinstance(thing, Annotations) else rf"\w+\.{name}"
    with pytest.raises(ValueError, match=rf"song\.gz: refused, or damaged: it names {refused}, which"):
        read(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("DALI.Annotations", "Annotations.__init__.__globals__"),
        ("DALI.Annotations", "Annotations.__setstate__"),
        ("DALI.Annotations", "ut.read_gzip"),
        ("lyrics_asr.corpora.dali_pickles", "_STAND_INS"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "load"),
        ("_codecs", "decode"),
    ],
)
def test_neighbours_of_the_allowed_names_are_refused(packed, module, name):
    with pytest.raises(ValueError, match=rf"it names {module}\.{name}, which"):
        read_annotations(packed(b"\x80\x04" + stack_global(module, name) + b"."))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("DALI.Annotations", "Annotations"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "scalar"),
        ("_codecs", "encode"),
    ],
)
def test_a_pickle_cannot_change_what_stands_in_for_its_classes(packed, module, name):
    before = {each: dict(vars(each)) for each in dali_pickles._STAND_INS.values()}
    for state in ({"x": 1}, (None, {"state": "odd"})):
        data = b"\x80\x04" + stack_global(module, name) + pickle.dumps(state, 2)[2:-1] + b"b."
        with pytest.raises(ValueError, match=r"song\.gz: refused, or damaged"):
            read_annotations(packed(data))
    assert before == {each: dict(vars(each)) for each in dali_pickles._STAND_INS.values()}


def test_a_call_of_the_allowed_class_is_refused(packed):
    data = b"\x80\x04" + stack_global("DALI.Annotations", "Annotations") + b"K\x01\x85R."
    with pytest.raises(ValueError, match=r"refused, or damaged: .*takes no arguments"):
        read_annotations(packed(data))


def test_bytes_in_another_encoding_are_refused(packed):
    data = b"\x80\x04" + stack_global("_codecs", "encode") + b"\x8c\x01a\x8c\x05rot13\x86R."
    with pytest.raises(ValueError, match="it holds bytes as 'rot13', which DALI's files never do"):
        read_annotations(packed(data))


def test_a_file_that_unpacks_without_end_is_refused(packed):
    full = pickle.dumps({"a": 1}).ljust(MAX_BYTES, b"\0")
    assert read_ground_truth(packed(full)) == {"a": 1}
    for read in (read_annotations, read_ground_truth):
        with pytest.raises(ValueError, match=r"song\.gz: larger than 32 MiB when decompressed"):
            read(packed(full + b"\0"))


@pytest.mark.parametrize("read", [read_annotations, read_ground_truth])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "refused, or damaged: "),
        (b"not gzip", "damaged, or not a gzip file"),
        (gzip.compress(b"x" * 999)[:-9], "damaged, or not a gzip file"),
        (gzip.compress(b"\x80\x04"), "refused, or damaged: "),
    ],
    ids=[
        "empty",
        "not gzip",
        "cut short",
        "not a pickle",
    ],  # packed bytes differ from worker to worker
)
def test_a_damaged_file_is_named(tmp_path, read, data, message):
    (tmp_path / "song.gz").write_bytes(data)
    with pytest.raises(ValueError, match=rf"song\.gz: {message}"):
        read(tmp_path / "song.gz")


def test_a_file_of_something_else_is_named(packed):
    with pytest.raises(ValueError, match=r"song\.gz: contains dict, not annotations; move it to another folder"):
        read_annotations(packed(pickle.dumps({"a": 1})))
    with pytest.raises(ValueError, match=r"song\.gz: contains list, not annotations"):
        read_annotations(packed(pickle.dumps([["DALI_ID", "NAME"]])))
    with pytest.raises(ValueError, match=r"song\.gz: contains list, not ground truth; give DALI's file"):
        read_ground_truth(packed(pickle.dumps([1])))
    with pytest.raises(ValueError, match=r"song\.gz: contains _Annotations, not ground truth"):
        read_ground_truth(packed(pickled(Annotations(CONTENT))))


def test_missing_ground_truth_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such ground truth"):
        read_ground_truth(tmp_path / "nowhere")
