"""The card of a trained model: where it comes from and how good it is, as the README of its folder.

The format is that of the Hugging Face hub: metadata in YAML, then Markdown. Absolute paths are shortened to their last
two parts, so that a card does not depend on the computer that it was written on.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lyrics_asr.models.known_models import PUBLISHED_REPOSITORY, PUBLISHED_SEPARATOR
from lyrics_asr.training.checkpoints import RunState, read_run

_RATES = {"wer": "WER, greedy", "cer": "CER, greedy", "lm_wer": "WER, language model", "lm_cer": "CER, language model"}


def model_card(checkpoint: Path, separator: str, acoustic: str) -> str:
    """The card of a checkpoint's model, as Markdown.

    Args:
        checkpoint: folder of the checkpoint, see `checkpoints`.
        separator: name of the separator that the run started from.
        acoustic: name of the acoustic model that the run started from.

    Raises:
        ValueError: not a checkpoint.
    """
    state = read_run(checkpoint)
    config = _portable(yaml.safe_load((checkpoint / "config.yaml").read_text(encoding="utf-8")))
    sections = [
        "# Lyrics transcription and alignment",
        f"A separator and a CTC acoustic model, trained for {state.total_steps} steps.\n\n"
        "    lyrics-asr transcribe song.mp3 --model THIS_FOLDER",
        f"## Base models\n\n{_base_models(config, separator, acoustic)}",
        f"## Training data\n\n{_data(state)}",
        f"## Results\n\n{_results(state.validation)}",
        "## Licence\n\nFill in `license` at the top. The licences of the base models and of the training data apply.",
        f"## Versions and configuration\n\n{', '.join(f'{name} {each}' for name, each in state.packages.items())}\n\n"
        f"```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```",
    ]
    return f"---\n{_metadata(state, separator, acoustic)}---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(state: RunState, separator: str, acoustic: str) -> str:
    languages = list(state.validation.get("languages", ()))
    names = {PUBLISHED_SEPARATOR: PUBLISHED_REPOSITORY}
    parts = [names.get(name, name) for name in (separator, acoustic)]
    entries: dict[str, Any] = {"library_name": "lyrics-asr", "pipeline_tag": "automatic-speech-recognition"}
    entries |= {"license": "FILL IN"}
    if languages:
        entries["language"] = languages
    if repositories := [name for name in parts if _is_repository(name)]:
        entries["base_model"] = repositories
    entries |= {"tags": ["lyrics", "singing"], "metrics": ["wer"]}
    metadata: str = yaml.safe_dump(entries, sort_keys=False)
    return metadata


def _base_models(config: Mapping[str, Any], separator: str, acoustic: str) -> str:
    rows = ["| part | started from |", "|---|---|"]
    for label, part, name in (
        ("separator", config["separator"], separator),
        ("acoustic model", config["acoustic"], acoustic),
    ):
        start = f"`{_portable(name)}`"
        if isinstance(part, dict) and part:
            start = f"`{part['encoder']}`, with a new CTC head" if "encoder" in part else "random weights"
        elif label == "acoustic model" and config.get("acoustic_language"):
            start += f", adapter of `{config['acoustic_language']}`"
        rows.append(f"| {label} | {start} |")
    return "\n".join(rows)


def _data(state: RunState) -> str:
    rows = ["| cuts | SHA-256 |", "|---|---|"]
    rows += [f"| `{_portable(name)}` | `{fingerprint}` |" for name, fingerprint in state.data.items()]
    return "\n".join(rows)


def _results(validation: Mapping[str, Any]) -> str:
    if validation.get("wer") is None:
        return "Not measured."
    rows = [f"On {validation['examples']} validation examples, with 95 % bootstrap intervals over examples:", ""]
    rows += ["| metric | value | interval |", "|---|---:|---:|"]
    for key, label in _RATES.items():
        if validation.get(key) is not None:
            interval = validation.get("intervals", {}).get(key)
            shown = "" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"
            rows.append(f"| {label} | {validation[key]:.1%} | {shown} |")
    for key, value in validation.items():
        if key.startswith(("wer ", "cer ")):
            rows.append(f"| {key[:3].upper()}, greedy, {key[4:]} | {value:.1%} | |")
    return "\n".join(rows)


def _portable(value: Any) -> Any:
    """The value, with every absolute path in it shortened to its last two parts."""
    if isinstance(value, dict):
        return {key: _portable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[1:][-2:])
    return value


def _is_repository(name: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not Path(name).exists() and not name.startswith("embedded")
