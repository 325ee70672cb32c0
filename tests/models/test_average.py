"""The weighted mean of models, against one computed by hand."""

import json
import math
import shutil

import pytest
import torch

from lyrics_asr.cli.main import main
from lyrics_asr.models.average import average_models
from lyrics_asr.models.registry import load_model


def variant(folder, original, change):
    """A copy of a model whose parameters `change` has changed."""
    model = load_model(str(original), device="cpu")
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(change(name, value, generator))
    model.save(folder)
    return folder


@pytest.fixture
def other_folder(tiny_model_folder, tmp_path):
    return variant(
        tmp_path / "other", tiny_model_folder, lambda _, value, rng: value + torch.randn(value.shape, generator=rng)
    )


def state(folder):
    return load_model(str(folder), device="cpu").state_dict()


def test_the_mean_is_that_of_every_parameter_and_all_else_comes_from_the_first(
    tiny_model_folder, other_folder, tmp_path, capsys
):
    out = tmp_path / "averaged"
    assert main(["models", "average", f"{tiny_model_folder}=2", f"{other_folder}=0.5", "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    first, second, mean = state(tiny_model_folder), state(other_folder), state(out)
    changed = 0
    for name, value in mean.items():
        expected = (2 * first[name].double() + 0.5 * second[name].double()) / 2.5
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7, msg=name)
        changed += not torch.equal(value, first[name])
    assert changed > len(mean) / 2
    averaged, given = (load_model(str(folder), device="cpu") for folder in (out, tiny_model_folder))
    assert averaged.decoding == given.decoding
    assert averaged.language_model_path.read_bytes() == given.language_model_path.read_bytes()


def test_sums_are_exact_where_float32_would_lose_the_small_model(tiny_model_folder, tmp_path):
    """In float32, 2**24 + 1 - 2**24 is 0."""
    big = variant(tmp_path / "big", tiny_model_folder, lambda _, value, rng: torch.full_like(value, 2.0**24))
    one = variant(tmp_path / "one", tiny_model_folder, lambda _, value, rng: torch.ones_like(value))
    minus = variant(tmp_path / "minus", tiny_model_folder, lambda _, value, rng: torch.full_like(value, -(2.0**24)))
    mean = average_models({str(big): 1.0, str(one): 1.0, str(minus): 1.0})
    assert all(torch.allclose(value, torch.tensor(1 / 3)) for value in mean.acoustic.parameters())


def test_acoustic_only_keeps_the_first_separator(tiny_model_folder, other_folder):
    mean = average_models({str(tiny_model_folder): 1.0, str(other_folder): 1.0}, acoustic_only=True)
    first = load_model(str(tiny_model_folder), device="cpu")
    for name, value in mean.separator.state_dict().items():
        assert torch.equal(value, first.separator.state_dict()[name]), name
    head = mean.acoustic.network.lm_head.weight
    assert not torch.equal(head, first.acoustic.network.lm_head.weight)


def edited(folder, original, file, **changes):
    shutil.copytree(original, folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_models_of_another_architecture_are_refused(tiny_model_folder, tmp_path):
    first = str(tiny_model_folder)
    heads = edited(tmp_path / "heads", tiny_model_folder, "acoustic/config.json", num_attention_heads=1)
    with pytest.raises(ValueError, match=r"heads: of another architecture than .*: its num_attention_heads is 1, not "):
        average_models({first: 1.0, str(heads): 1.0})
    vocabulary = json.loads((tiny_model_folder / "acoustic" / "vocab.json").read_text())
    swapped = {"a": vocabulary["b"], "b": vocabulary["a"]}
    letters = edited(tmp_path / "letters", tiny_model_folder, "acoustic/vocab.json", **swapped)
    with pytest.raises(ValueError, match=r"letters: of another architecture than .*: its vocabulary is "):
        average_models({first: 1.0, str(letters): 1.0})
    with pytest.raises(ValueError, match=r"embedded-small: of another architecture"):
        average_models({first: 1.0, "embedded-small": 1.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_must_be_positive_numbers(weight, tiny_model_folder):
    with pytest.raises(ValueError, match=r"its weight is .*; it must be a positive number"):
        average_models({str(tiny_model_folder): 1.0, "embedded-small": weight})


def test_a_model_with_damaged_parameters_is_refused(tiny_model_folder, tmp_path):
    broken = variant(
        tmp_path / "broken",
        tiny_model_folder,
        lambda name, value, rng: torch.full_like(value, math.nan) if "lm_head.weight" in name else value,
    )
    with pytest.raises(ValueError, match=r"acoustic\.network\.lm_head\.weight: not finite"):
        average_models({str(tiny_model_folder): 1.0, str(broken): 1.0})


def test_wrong_usage_is_named(tiny_model_folder, tmp_path, capsys):
    for arguments, message in (
        ([f"{tiny_model_folder}=two", "embedded"], "'two' is not a number; give MODEL=WEIGHT"),
        (["embedded=1", "embedded=2"], "embedded: is given twice"),
    ):
        assert main(["models", "average", *arguments, "-o", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert main(["models", "average", "embedded", "-o", str(tmp_path / "out")]) == 1
    assert "an average needs at least two different models" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
