"""The log file beside an output: tracebacks go there, and not to the terminal."""

import logging
import signal
import subprocess
import sys

import pytest

from lyrics_asr.console import log_file, log_traceback, quiet


def fail(message):
    raise ValueError(message)


def test_a_handled_error_has_its_traceback_in_the_log_file_alone(tmp_path, capfd):
    path = tmp_path / "output" / "run.log"
    with quiet(debug=False), log_file(path):
        try:
            fail("the third song is damaged")
        except ValueError as error:
            log_traceback(error)
    text = path.read_text()
    assert "ValueError: the third song is damaged" in text
    assert "in fail\n    raise ValueError(message)" in text
    assert capfd.readouterr() == ("", "")


def test_an_error_that_leaves_the_block_is_recorded_and_raised(tmp_path):
    with pytest.raises(ValueError, match="no such model"), log_file(tmp_path / "run.log"):
        fail("no such model")
    assert (tmp_path / "run.log").read_text().count("in fail\n") == 1


def test_warnings_of_all_packages_are_in_the_log_file_until_the_block_ends(tmp_path, capfd):
    with quiet(debug=False), log_file(tmp_path / "run.log"):
        logging.getLogger("some.library").warning("a remark of %s", "a library")
        logging.getLogger("lyrics_asr.audio").warning("our own warning")
    logging.getLogger("lyrics_asr.audio").warning("afterwards")
    log_traceback(ValueError("recorded nowhere"))
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "WARNING some.library: a remark of a library",
        "WARNING lyrics_asr.audio: our own warning",
    ]
    assert "lyrics-asr: our own warning" in capfd.readouterr().err


def test_a_run_without_records_leaves_no_log_file_and_a_second_run_appends(tmp_path):
    path = tmp_path / "run.log"
    with log_file(path):
        pass
    assert not path.exists()
    for message in ("first", "second"):
        with log_file(path):
            log_traceback(ValueError(message))
    assert path.read_text().count("NoneType: None") == 0
    assert [line.rsplit(": ", 1)[1] for line in path.read_text().splitlines() if " ERROR " in line] == [
        "first",
        "second",
    ]


def test_a_crash_of_compiled_code_is_shown_though_its_messages_are_hidden():
    code = """
import ctypes, os
from lyrics_asr.console import quiet
with quiet(debug=False):
    os.write(2, b"remark of a library")
    ctypes.string_at(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert "remark" not in done.stderr
