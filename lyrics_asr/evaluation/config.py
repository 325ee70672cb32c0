"""Options of an evaluation, the keys of its YAML file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lyrics_asr.evaluation.damage import Damage
from lyrics_asr.options import (
    DEFAULT_MODEL,
    AcousticOptions,
    AlignmentOptions,
    LineOptions,
    SeparationOptions,
    TranscriberOptions,
)


@dataclass(frozen=True)
class EvaluationConfig:
    """Options of an evaluation.

    Args:
        corpus: layout of the corpus, see `lyrics_asr.corpora`; "dali" is its test split.
        folder: folder of the corpus; for "manifest" the manifest, or the folder with manifest.jsonl; for "dali" the
            folder of the annotations.
        audio: folder of the audio, for corpus "dali".
        ground_truth: file of DALI's corrected offsets and frame rates, for corpus "dali".
        language: only songs in this language (ISO 639-1); for corpus "folder" the language of its songs (English if
            None).
        genre: only songs of this genre, ignoring case.
        limit: only the first N of the songs with audio.
        model: name or folder, see `load_model`.
        separator: name or folder of a separator that replaces the model's.
        acoustic: name or folder of an acoustic model that replaces the model's.
        acoustic_language: adapter of a multilingual acoustic model, e.g. "fr"; English if None.
        language_model: KenLM file that replaces the model's; "none" to decode without one.
        transcriber: attention model that replaces the model's; "none" for the beam search.
        device: "auto", "cpu", "cuda", ...; several, separated by commas, share the songs.
        engine: "local", or "ray" for a Ray cluster.
        overwrite: run songs again that are already done.
        transcripts: folder of transcripts to evaluate instead of a model.
        alignments: folder of alignments to evaluate instead of a model.
        output: folder of results, report and predictions; an interrupted run resumes there.
        cache: folder for emissions, so that other decoding options do not need to run the networks again.
        bss_eval: also compute BSS Eval of the separated vocals.
        separation: options of the separator.
        acoustic_options: options of the acoustic model.
        decoding: `DecodingOptions` that differ from the model's tuned ones.
        lines: options for splitting transcripts into lines.
        transcriber_options: options of the transcriber.
        alignment: prices of the alignment graph.
        damage: damage lyrics before the alignment, see `evaluation.damage`; "none" aligns the right lyrics in the same
            way, and "mixed" draws a kind for each song. Without, every line of the lyrics gets a time.
        damage_share: share of the lines that is damaged.
        keep_all: give every line of damaged lyrics a time, for comparison.
    """

    corpus: Literal["manifest", "jamendo", "jam_alt", "musdb_alt", "dali", "folder"] = "manifest"
    folder: Path = Path("data/prepared/evaluation")
    audio: Path | None = None
    ground_truth: Path | None = None
    language: str | None = None
    genre: str | None = None
    limit: int | None = None
    model: str = DEFAULT_MODEL
    separator: str | None = None
    acoustic: str | None = None
    acoustic_language: str | None = None
    language_model: str | None = None
    transcriber: str | None = None
    device: str = "auto"
    engine: str = "local"
    overwrite: bool = False
    transcripts: Path | None = None
    alignments: Path | None = None
    output: Path = Path("results")
    cache: Path | None = None
    bss_eval: bool = True
    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic_options: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: dict[str, Any] = field(default_factory=dict)
    lines: LineOptions = field(default_factory=LineOptions)
    transcriber_options: TranscriberOptions = field(default_factory=TranscriberOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    damage: Damage | None = None
    damage_share: float = 0.3
    keep_all: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")
        if self.corpus == "dali" and self.audio is None:
            raise ValueError("corpus=dali needs audio=FOLDER, the folder of audio files named by their DALI ids")
        if not 0 < self.damage_share <= 1:
            raise ValueError(f"damage_share must be above 0 and at most 1, not {self.damage_share}")
        if self.damage is not None and self.from_files:
            raise ValueError("damage needs a model; leave out transcripts and alignments")

    @property
    def from_files(self) -> bool:
        """Whether predictions are read from files instead of running a model."""
        return self.transcripts is not None or self.alignments is not None
