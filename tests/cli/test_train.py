"""`lyrics-asr train`: short messages on the terminal, tracebacks in the log file of the output."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from lyrics_asr.cli.main import main
from lyrics_asr.config import dump_config, load_config
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.training import loop
from lyrics_asr.training.config import TrainingConfig
from tests.paths import CONFIGS, ROOT


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
    monkeypatch.setattr(loop, "train", lambda config, log: json.loads("no JSON"))
    assert main(["train", str(config_file)]) == 1
    path = Path(training_config.output, "train.log")
    assert (
        capsys.readouterr().err == f"lyrics-asr: error: Expecting value: line 1 column 1 (char 0) (traceback: {path})\n"
    )
    text = path.read_text()
    assert "JSONDecodeError: Expecting value" in text
    assert "json/decoder.py" in text


def test_an_unexpected_error_is_one_line_and_recorded(config_file, training_config, monkeypatch, capsys):
    monkeypatch.setattr(loop, "train", fail_with(ZeroDivisionError("a bug")))
    assert main(["train", str(config_file)]) == 1
    assert "error: ZeroDivisionError: a bug (unexpected; --debug shows where)" in capsys.readouterr().err
    assert "in failing\n" in Path(training_config.output, "train.log").read_text()


def test_each_process_has_a_log_file_of_its_own(config_file, training_config, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(loop, "train", fail_with(ValueError("the data is missing")))
    assert main(["train", str(config_file)]) == 1
    logs = sorted(path.name for path in Path(training_config.output).glob("*.log"))
    assert logs == ["train-rank1.log"]


def test_a_folder_that_cannot_be_written_is_named_without_a_log_file(config_file, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", str(config_file), f"output={tmp_path / 'file'}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"lyrics-asr: error: {tmp_path / 'file'}: cannot be written")
    assert "traceback" not in said


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_shipped_configurations_are_found_by_name_and_printed_whole(name, tmp_path, capsys):
    verb, schema = ("evaluate", EvaluationConfig) if name.startswith("evaluate") else ("train", TrainingConfig)
    assert main([verb, name, "output=elsewhere", "--print-config"]) == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_config(schema, path) == load_config(schema, CONFIGS / f"{name}.yaml", ["output=elsewhere"])


def test_an_unknown_configuration_is_named_with_those_that_ship(capsys):
    assert main(["train", "finetune_dly"]) == 2
    message = capsys.readouterr().err
    names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    assert f"finetune_dly: no such file, and not one of {names}; check the path" in message


@pytest.mark.parametrize(("script", "name"), [("train.py", "smoke"), ("evaluate.py", "evaluate_embedded")])
def test_the_scripts_of_a_checkout_are_the_verbs(script, name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, name, "--print-config"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert main([script.removesuffix(".py"), name, "--print-config"]) == 0
    assert printed == capsys.readouterr().out
