import math
import re
from dataclasses import dataclass, field

import pytest

from lyrics_asr.config import dump_config, load_config
from lyrics_asr.options import (
    AcousticOptions,
    DecodingOptions,
    InferenceOptions,
    LineOptions,
    SeparationOptions,
    SilenceOptions,
)
from lyrics_asr.training.config import TrackingOptions, TrainingConfig
from lyrics_asr.training.stages import StageOptions
from tests.paths import CONFIGS


def test_file_goes_over_the_defaults_and_overrides_over_the_file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("decoding: {alpha: 0.1, beta: 0.2}")
    options = load_config(InferenceOptions, path, ["decoding.beta=0.3", "lines.max_words=4"])
    assert options == InferenceOptions(decoding=DecodingOptions(alpha=0.1, beta=0.3), lines=LineOptions(max_words=4))
    path.write_text(dump_config(options))
    assert load_config(InferenceOptions, path) == options


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"decoding: [1", r"is not YAML: did not find expected ',' or '\]' \(line 2\)"),
        (b"lines:\n  max_words: 3\n  max_words: 4\n", r"is not YAML: found duplicate key max_words \(line 3\)"),
        (b"decoding: !!python/object/apply:os.system [exit]", "is not YAML: could not determine a constructor"),
        (b"\0\0", "is not YAML: unacceptable character"),
        (b"- alpha", "is not a mapping of keys to values"),
        (b"3", "is not a mapping of keys to values"),
        (b"decoding: [1]", "list is not a subclass of DecodingOptions"),
        (b"decoding: 3", "int is not a subclass of DecodingOptions"),
        (b"decoding: null", r"not Optional \(key decoding\)"),
        (b"decoding: {alfa: 1}", r"Key 'alfa' not in 'DecodingOptions'.* \(key decoding\.alfa\)"),
        (b"decoding: {alpha: high}", r"Value 'high' .* \(key decoding\.alpha\)"),
        (b"decoding: {alpha: '${beta'}", r"\$\{beta"),
        (b"d\xe9coding: {}", "'utf-8' codec can't decode"),
        ("lines: {}".encode("utf-16"), "'utf-8' codec can't decode"),
        (b"decoding: {unknown_word_letter_log10: -1}", "is now called decoding.unk_char_log10; rename the key"),
        (b"acoustic: {border_seconds: null}", "is now called acoustic.context_seconds; rename the key"),
        (b"lines: {max_words: -1}", "lines.max_words is -1; a line needs at least 1 word"),
    ],
)
def test_unusable_file_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "options.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"options\.yaml: .*{message}") as caught:
        load_config(InferenceOptions, path)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


@dataclass(frozen=True)
class Choices:
    """Every kind of option that a YAML 1.1 boolean could stand in."""

    choice: str = ""
    named: dict[str, float] = field(default_factory=dict)
    several: list[str] = field(default_factory=list)
    flag: bool = False


@pytest.mark.parametrize("word", ["off", "on", "no", "yes", "Off", "NO", "y", "n"])
def test_texts_that_yaml_1_1_reads_as_booleans_are_texts(tmp_path, word):
    expected = Choices(word, {word: 1.0}, [word])
    path = tmp_path / "choices.yaml"
    path.write_text(f"{{choice: {word}, named: {{{word}: 1}}, several: [{word}]}}")
    assert load_config(Choices, path) == expected
    assert load_config(Choices, overrides=[f"choice={word}", f"named.{word}=1", f"several=[{word}]"]) == expected
    path.write_text(dump_config(expected))
    assert load_config(Choices, path) == expected


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("yes", True), ("true", True), ("off", False), ("no", False), ("False", False)]
)
def test_flags_take_every_word_for_a_boolean(tmp_path, text, value):
    path = tmp_path / "choices.yaml"
    path.write_text(f"flag: {text}")
    assert load_config(Choices, path).flag is value
    assert load_config(Choices, overrides=[f"flag={text}"]).flag is value


def test_tracking_is_switched_off_by_the_word_of_the_manual(tmp_path):
    path = tmp_path / "tracking.yaml"
    path.write_text("wandb: off")
    assert load_config(TrackingOptions, path).wandb == "off"
    assert load_config(TrackingOptions, path, ["wandb=offline"]).wandb == "offline"


def test_a_text_for_a_boolean_of_a_network_is_refused():
    with pytest.raises(ValueError, match=r"separator\.hybrid: 'off' is a text; write true or false"):
        load_config(TrainingConfig, CONFIGS / "smoke.yaml", ["separator.hybrid=off"])


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(InferenceOptions, tmp_path / "none.yaml")
    with pytest.raises(OSError, match=str(tmp_path)):
        load_config(InferenceOptions, tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decoding.beam_width=[1", r"decoding\.beam_width=\[1: is not YAML: did not find expected ',' or '\]'"),
        ("[=2", r"\[=2: is not of the form key\.sub=value"),
        ("=3", "=3: Key '' not in 'InferenceOptions'"),
        ("decoding", r"decoding: field 'decoding' is not Optional \(key decoding\)"),
        ("decoding.beam_width=${x}", r"Interpolation key 'x' not found \(key decoding\.beam_width\)"),
        ("decoding.beam_width=1e400", r"could not be converted to Integer \(key decoding\.beam_width\)"),
    ],
)
def test_unusable_override_is_named_in_one_line(override, message):
    with pytest.raises(ValueError, match=rf"^command line: .*{message}") as caught:
        load_config(InferenceOptions, overrides=["lines.max_words=3", override])
    assert type(caught.value) is ValueError
    assert len(str(caught.value).splitlines()) == 1


def test_a_value_in_the_place_of_a_list_is_told_so():
    with pytest.raises(ValueError, match=r"development=a\.jsonl: must be a list, such as \[a, b\] \(key development\)"):
        load_config(TrainingConfig, overrides=["development=a.jsonl"])


def test_wrong_choice_names_its_source(tmp_path):
    with pytest.raises(
        ValueError, match=r"^command line: stage 'x': input must be vocals, stems, separated or mixture, not 'air'"
    ):
        load_config(StageOptions, overrides=["name=x", "steps=1", "input=air"])
    path = tmp_path / "stage.yaml"
    path.write_text("{name: x, steps: 1}")
    with pytest.raises(ValueError, match=r"stage\.yaml and command line: stage 'x': input must be"):
        load_config(StageOptions, path, ["input=air"])


OUTSIDE = [
    (SeparationOptions, "separation", {"overlap": [-0.01, 1.0, math.nan], "batch_size": [0, -1]}),
    (
        AcousticOptions,
        "acoustic",
        {
            "window_seconds": [0.0, -1.0, math.inf, math.nan],
            "context_seconds": [-0.1, math.inf, math.nan],
            "batch_size": [0],
        },
    ),
    (
        SilenceOptions,
        "acoustic.silence",
        {
            "threshold_db": [0.0, 3.0, math.nan],
            "minimum_seconds": [0.4, 0.0, math.nan],
            "margin_seconds": [-0.1, 0.5, math.nan],
        },
    ),
    (
        DecodingOptions,
        "decoding",
        {"beam_width": [0], "beam_prune_logp": [0.1, math.nan], "token_min_logp": [0.1, math.nan]},
    ),
    (LineOptions, "lines", {"pause_seconds": [0.0, -1.0, math.nan], "max_words": [0]}),
]


@pytest.mark.parametrize(
    ("schema", "section", "key", "value"),
    [(schema, section, key, value) for schema, section, keys in OUTSIDE for key in keys for value in keys[key]],
)
def test_value_out_of_range_is_named_with_its_key_and_range(schema, section, key, value):
    shown = rf"{section}\.{key} (is )?{re.escape(str(value))}"
    with pytest.raises(ValueError, match=rf"{shown}\b.*(must be|needs at least)|must be more than twice {shown}$"):
        schema(**{key: value})
    with pytest.raises(ValueError, match=rf"^command line: {section}\."):
        load_config(InferenceOptions, overrides=[f"{section}.{key}={str(value).replace('inf', '.inf')}"])


def test_a_window_must_be_more_than_twice_its_context():
    with pytest.raises(ValueError, match=r"window_seconds 2\.0 .* more than twice acoustic\.context_seconds 1\.0"):
        AcousticOptions(window_seconds=2.0, context_seconds=1.0)


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (SeparationOptions, {"overlap": 0.0, "batch_size": 1}),
        (SeparationOptions, {"overlap": 0.999}),
        (AcousticOptions, {"window_seconds": 0.1, "context_seconds": 0.0}),
        (AcousticOptions, {"window_seconds": 4.01, "context_seconds": 2.0}),
        (DecodingOptions, {"beam_width": 1, "beam_prune_logp": 0.0, "token_min_logp": -math.inf}),
        (LineOptions, {"pause_seconds": 0.001, "max_words": 1}),
    ],
)
def test_limits_of_the_ranges_are_allowed(schema, values):
    options = schema(**values)
    assert {key: getattr(options, key) for key in values} == values


def test_options_under_the_name_of_a_part_are_told_their_key():
    from lyrics_asr.evaluation.config import EvaluationConfig

    with pytest.raises(ValueError, match="acoustic is the name of a model; its options are called acoustic_options"):
        load_config(EvaluationConfig, overrides=["acoustic.window_seconds=20"])
    assert load_config(EvaluationConfig, overrides=["acoustic=some/model"]).acoustic == "some/model"
