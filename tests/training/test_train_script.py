"""train.py: short messages on the terminal, tracebacks in the log file of the output."""

import json
from pathlib import Path

import pytest

import train
from lyrics_asr.config import dump_config


@pytest.fixture
def config_file(training_config, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(training_config))
    return path


def fail_with(error):
    def failing(config, log):
        raise error

    return failing


def test_an_error_of_a_library_is_one_line_and_its_traceback_is_in_the_log_file(
    config_file, training_config, monkeypatch, capsys
):
    monkeypatch.setattr(train, "train", lambda config, log: json.loads("no JSON"))
    assert train.main([str(config_file)]) == 1
    path = Path(training_config.output, "train.log")
    assert capsys.readouterr().err == f"error: Expecting value: line 1 column 1 (char 0) (traceback: {path})\n"
    text = path.read_text()
    assert "JSONDecodeError: Expecting value" in text
    assert "json/decoder.py" in text


def test_an_unexpected_error_is_raised_and_recorded(config_file, training_config, monkeypatch):
    monkeypatch.setattr(train, "train", fail_with(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train.main([str(config_file)])
    assert "in failing\n" in Path(training_config.output, "train.log").read_text()


def test_each_process_has_a_log_file_of_its_own(config_file, training_config, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(train, "train", fail_with(ValueError("the data is missing")))
    assert train.main([str(config_file)]) == 1
    logs = sorted(path.name for path in Path(training_config.output).glob("*.log"))
    assert logs == ["train-rank1.log"]


def test_a_folder_that_cannot_be_written_is_named_without_a_log_file(config_file, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train.main([str(config_file), f"output={tmp_path / 'file'}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'file'}: cannot be written")
    assert "traceback" not in said
