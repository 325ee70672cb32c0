import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lyrics_asr.config import dump_config
from lyrics_asr.evaluation.aggregation import METRICS, estimate
from lyrics_asr.training.checkpoints import SCHEMA, RunState
from lyrics_asr.training.model_card import model_card
from lyrics_asr.training.validation import Hypothesis, ValidationMetrics, summary

SHA = "0123456789abcdef"


def hypothesis(number, reference, greedy, language="fr"):
    return Hypothesis(str(number), reference, language, greedy, None, None, None, None)


@pytest.fixture
def checkpoint(training_config, tmp_path):
    """The folder of a checkpoint without weights, whose run took a language model's place, adapters and cuts."""
    folder = tmp_path / "run" / "checkpoints" / "step-00000002"
    folder.mkdir(parents=True)
    config = replace(
        training_config, model="published", separator="", acoustic="facebook/mms-1b-all", acoustic_language="fr"
    )
    (folder / "config.yaml").write_text(dump_config(config))
    hypotheses = [hypothesis(0, "a b c d", "a b c"), hypothesis(1, "a b", "a b", "en"), hypothesis(2, "", "")]
    metrics = ValidationMetrics(cer=0.25, wer=1 / 6, lm_cer=None, lm_wer=None, si_sdr_improvement_db=None,
                                si_sdr_to_initial_db=None)  # fmt: skip
    data = {str(tmp_path / "prepared" / "cuts.jsonl.gz"): SHA}
    state = RunState("", 0, 2, 2, 1 / 6, data, {"torch": "2.11.0"}, summary(metrics, hypotheses))
    (folder / "run.json").write_text(json.dumps({"schema": SCHEMA, **vars(state)}))
    return folder


def card_of(checkpoint):
    return model_card(checkpoint, "htdemucs", "facebook/mms-1b-all")


def test_a_card_has_the_metadata_of_the_hub(checkpoint):
    _, metadata, _ = card_of(checkpoint).split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "library_name": "lyrics-asr",
        "pipeline_tag": "automatic-speech-recognition",
        "license": "FILL IN",
        "language": ["en", "fr"],
        "base_model": ["adefossez/HTDemucs", "facebook/mms-1b-all"],
        "tags": ["lyrics", "singing"],
        "metrics": ["wer"],
    }


def test_a_card_names_models_data_and_results_but_no_place(checkpoint, tmp_path):
    card = card_of(checkpoint)
    assert "| acoustic model | `facebook/mms-1b-all`, adapter of `fr` |" in card
    assert f"| `prepared/cuts.jsonl.gz` | `{SHA}` |" in card
    interval = estimate(METRICS["wer"], [(1, 4), (0, 2)])
    assert f"| WER, greedy | 16.7% | {interval.low:.1%} to {interval.high:.1%} |" in card
    assert "| WER, greedy, en | 0.0% | |" in card
    assert "torch 2.11.0" in card
    assert str(tmp_path) not in card
    assert str(Path.home()) not in card
    config = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert config["acoustic"] == "facebook/mms-1b-all"
    assert config["output"] == f"{tmp_path.name}/run"


def test_parts_with_new_weights_are_said_to_be_new(checkpoint):
    config = yaml.safe_load((checkpoint / "config.yaml").read_text())
    config |= {"separator": {"network": "HDemucs"}, "acoustic": {"encoder": "openai/whisper-base"}}
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(config))
    card = card_of(checkpoint)
    assert "| separator | random weights |" in card
    assert "| acoustic model | `openai/whisper-base`, with a new CTC head |" in card
