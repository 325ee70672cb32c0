"""Separator and acoustic model as one differentiable network.

mixture (separator's rate) -> vocals -> mono -> 16 kHz -> log-probabilities
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib import import_module
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchaudio.functional import resample

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio
from lyrics_asr.config import dump_config, load_config
from lyrics_asr.emissions import Emissions
from lyrics_asr.files import write_text
from lyrics_asr.melody.pitch import PitchTrack, track_pitch
from lyrics_asr.models import memory
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import save_acoustic
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.models.known_models import ASSETS_FOLDER
from lyrics_asr.models.model_folder import SCHEMA, language_model_suffix, replacing_model
from lyrics_asr.models.precision import for_device
from lyrics_asr.models.separators.base import Separator, Unseparated
from lyrics_asr.models.separators.loading import save_separator
from lyrics_asr.options import AcousticOptions, DecodingOptions, SeparationOptions
from lyrics_asr.types import ModelInfo
from lyrics_asr.version import RESULTS_VERSION

if TYPE_CHECKING:
    from lyrics_asr.models.transcriber import Transcriber

AcousticInput = Literal["vocals", "mixture"]


class LyricsModel(nn.Module):
    """Maps a song's mixture to CTC log-probabilities.

    Args:
        separator: extracts the vocals.
        acoustic: maps vocals to log-probabilities.
        name: the name that `load_model` takes.
        language_model_path: KenLM model for decoding.
        decoding: decoding options tuned for this model, or a YAML file with them, read on first use; the defaults when
            None.
        transcriber: attention model that finds the words, by the name that `load_transcriber` takes; loaded on first
            use. None if the words come from the beam search.
        acoustic_input: what the acoustic model hears in inference: the separated vocals, or the mixture, which spares
            alignment the separation. Training always goes through the separator, see `forward`.
    """

    def __init__(
        self,
        separator: Separator,
        acoustic: AcousticModel,
        *,
        name: str,
        language_model_path: Path | None = None,
        decoding: DecodingOptions | Path | None = None,
        transcriber: str | None = None,
        acoustic_input: AcousticInput = "vocals",
    ) -> None:
        super().__init__()
        self.name = name
        self.separator = separator
        self.acoustic = acoustic
        self.language_model_path = language_model_path
        self._tuned_decoding = decoding
        self.transcriber_name = transcriber
        self.acoustic_input = acoustic_input

    @cached_property
    def decoding(self) -> DecodingOptions:
        """Decoding options.

        Raises:
            ValueError: the YAML file is invalid; the message names it.
        """
        tuned = self._tuned_decoding
        return load_config(DecodingOptions, tuned) if isinstance(tuned, Path) else tuned or DecodingOptions()

    @cached_property
    def transcriber(self) -> "Transcriber | None":
        """The attention model, on the model's device.

        Raises:
            ModelNotFoundError: its weights are not on this computer and cannot be downloaded.
            ValueError: not a Whisper checkpoint, or damaged.
        """
        if self.transcriber_name is None:
            return None
        from lyrics_asr.models.transcriber import load_transcriber

        return load_transcriber(self.transcriber_name, self.device, getattr(self.acoustic.network, "encoder", None))

    @cached_property
    def unseparated(self) -> "LyricsModel":
        """A model with the same acoustic model whose vocals are the mixture, as `separator` takes it."""
        separator = Unseparated(self.separator.sample_rate_hz, self.separator.audio_channels)
        return LyricsModel(separator, self.acoustic, name=self.name)

    def forward(
        self, mixture: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities of a batch of chunks, differentiable end to end.

        Args:
            mixture: at the separator's rate.
            lengths: valid samples of each row; whole rows when None.
        """
        return self.acoustic_log_probs(self.separator(mixture), lengths)

    def acoustic_log_probs(
        self, vocals: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities of separated vocals: the second half of `forward`.

        Args:
            vocals: at the separator's rate.
            lengths: valid samples of each row; whole rows when None.
        """
        log_probs: Tensor = self.acoustic(
            self._resample_mono(vocals), None if lengths is None else self._resampled_lengths(lengths)
        )
        return log_probs

    def pitch_logits(self, vocals: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch frames bins"]:
        """Logits of the pitch salience of separated vocals, see `separators.pitch_salience`; differentiable.

        Args:
            vocals: at the separator's rate.
        """
        assert self.separator.pitch is not None
        logits: Tensor = self.separator.pitch(self._resample_mono(vocals))
        return logits

    def track_pitch(self, voice: Audio) -> PitchTrack:
        """The pitch of separated vocals: by the separator if it estimates F0, else by the pitch tracker.

        Args:
            voice: mono at 16 kHz, on any device.
        """
        pitch = self.separator.pitch
        return track_pitch(voice.cpu()) if pitch is None else pitch.track(voice)

    def frame_counts(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Number of frames of `forward` for rows of `lengths` samples at the separator's rate."""
        return self.acoustic.frame_counts(self._resampled_lengths(lengths))

    def vocals(
        self, songs: Sequence[Audio], options: SeparationOptions, progress: Callable[[float], None] | None = None
    ) -> list[Audio]:
        """The vocals of whole songs, on the model's device, at the separator's rate and with its channels.

        Where memory runs out, the separator runs again on less at a time.

        Args:
            songs: mixtures at the separator's rate and with its channels; they share batches.
            options: of the separator.
            progress: called with the share that is done, in 0..1.

        Raises:
            MemoryError: memory runs out even with the shortest segments.
            ModuleNotFoundError, ValueError: see `separation_options`.
        """
        rate = self.separator.sample_rate_hz
        mixtures = list(map(attrgetter("samples"), songs))
        options = self.separation_options(options)
        while True:
            try:
                vocals = self.separator.separate(mixtures, options, progress)
                return list(map(Audio, vocals, repeat(rate)))
            except (MemoryError, RuntimeError) as error:
                options = memory.smaller_separation(options, error)

    def separation_options(self, options: SeparationOptions) -> SeparationOptions:
        """The options of the separator, with what suits the model's device in place of "auto".

        Raises:
            ModuleNotFoundError: OpenVINO is not installed.
            ValueError: a precision that the device does not have, or a runtime that cannot run the separator there.
        """
        if options.runtime != "openvino":
            return for_device(options, self.device, gains_on_cpu=self.separator.gains_by_bfloat16)
        if self.device.type != "cpu" or not self.separator.runs_in_openvino:
            raise ValueError(
                f"runtime openvino: runs U-Nets on a CPU, not the separator {self.separator.name!r} on {self.device}; "
                "use --runtime torch"
            )
        import_module("lyrics_asr.models.openvino_network")  # to fail before any song is read
        return for_device(options, self.device, gains_on_cpu=True)

    def to_16k_mono(self, vocals: Audio) -> Audio:
        """Vocals as the acoustic model takes them, on the same device, resampled as in training."""
        return Audio(self._resample_mono(vocals.samples[None]), ACOUSTIC_SAMPLE_RATE_HZ)

    def emissions(self, voices: Sequence[Audio], options: AcousticOptions) -> list[Emissions]:
        """Log-probabilities over the vocals of whole songs, on the CPU.

        Where memory runs out, the acoustic model runs again on less at a time.

        Args:
            voices: mono at 16 kHz; they share batches.
            options: of the acoustic model.

        Raises:
            MemoryError: memory runs out even with the shortest windows.
            ValueError: a precision that the device does not have.
        """
        options = for_device(options, self.device, gains_on_cpu=self.acoustic.gains_by_bfloat16)
        options = self.acoustic.with_windows(options)
        waveforms = []
        for voice in voices:
            waveforms.append(voice.samples[0])
        while True:
            try:
                return self.acoustic.emissions(waveforms, options)
            except (MemoryError, RuntimeError) as error:
                options = memory.smaller_windows(options, error)

    def fingerprint(self, separation: SeparationOptions, acoustic: AcousticOptions) -> str:
        """A SHA-256 of everything that emissions depend on beside the song: weights, their use, and options."""
        options: list[Any] = [RESULTS_VERSION, asdict(separation), asdict(acoustic)]
        if self.acoustic_input != "vocals":
            options.append(self.acoustic_input)
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
        digest.update(repr((self.acoustic.vocabulary, self.acoustic.grid, self.separator.sample_rate_hz)).encode())
        digest.update(weights_fingerprint(self).encode())
        return digest.hexdigest()

    @property
    def mixture_channels(self) -> Literal[1, 2]:
        """Number of channels of the separator's input.

        Raises:
            ValueError: the separator is neither mono nor stereo.
        """
        channels = self.separator.audio_channels
        if channels not in (1, 2):
            raise ValueError(f"separator {self.separator.name!r} takes {channels} channels; use one for mono or stereo")
        return cast(Literal[1, 2], channels)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.acoustic.parameters()).device

    @property
    def info(self) -> ModelInfo:
        """The model's names, as stored in transcripts."""
        path = self.language_model_path
        if path is not None and path.is_relative_to(ASSETS_FOLDER):
            path = path.relative_to(ASSETS_FOLDER)
        return ModelInfo(self.name, self.separator.name, self.acoustic.name, None if path is None else path.as_posix())

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write the model to a folder that `load_model` takes; a model in that folder is replaced.

        Args:
            folder: created if missing; files in it that are not part of a model are kept.
            half: store the weights in float16, at half the size; for models that are not trained further.

        Raises:
            OutputError: the folder cannot be written; a model that was in it is unchanged.
        """
        with replacing_model(folder.resolve()) as new:
            if self.separator.networks:
                save_separator(self.separator, new / "separator", half=half)
            save_acoustic(self.acoustic, new / "acoustic", half=half)
            transcriber = self.transcriber_name
            if transcriber is not None and Path(transcriber).is_dir():
                shutil.copytree(transcriber, new / "transcriber")
                transcriber = None
            if self.language_model_path is not None:
                suffix = language_model_suffix(self.language_model_path)
                shutil.copyfile(self.language_model_path, new / f"language_model{suffix}")
            write_text(new / "decoder.yaml", dump_config(self.decoding))
            separator = None if self.separator.networks else "none"
            description = {"schema": SCHEMA, "separator": separator}
            if transcriber is not None:
                description["transcriber"] = transcriber
            if self.acoustic_input != "vocals":
                description["acoustic_input"] = self.acoustic_input
            write_text(new / "model.json", json.dumps(description, indent=2) + "\n")

    def _resample_mono(self, vocals: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch resampled"]:
        # Without autocast: bfloat16 has 8 bits of precision, too few for a waveform.
        with torch.autocast(vocals.device.type, enabled=False):
            mono: Tensor = resample(vocals.float().mean(1), self.separator.sample_rate_hz, ACOUSTIC_SAMPLE_RATE_HZ)
        return mono

    def _resampled_lengths(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        # torchaudio rounds up; in integers, ceil(a / b) is -(-a // b).
        return -(-lengths * ACOUSTIC_SAMPLE_RATE_HZ // self.separator.sample_rate_hz)
