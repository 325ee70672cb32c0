"""A fake model that returns the same words for every song, and songs for it, to test the code around a model fast."""

import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.emissions import Emissions
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.types import TimedWord

RATE_HZ = 44_100
DURATION_SECONDS = 3.0
TINY = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "conv_dim": [8, 8],
    "conv_kernel": [400, 2],
    "conv_stride": [320, 1],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
WORD_FRAMES = {"sun": 10, "moon": 60, "rain": 100}
"""The words that the fake emissions spell, and the first frame of each."""


def tone(hz, seconds=DURATION_SECONDS):
    time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return torch.sin(2 * torch.pi * hz * time).repeat(2, 1)


VOICE, BACKING = 0.1 * tone(440), 0.1 * tone(110)


class FakeModel(LyricsModel):
    """Returns the voice and a tenth of the backing as vocals, and WORD_FRAMES as emissions; counts its runs."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(load_separator("none"), build_acoustic(TINY, "abcdefghijklmnopqrstuvwxyz"), name="fake")
        self.runs = []

    def vocals(self, songs, options, progress=None):
        self.runs.append("vocals")
        return [Audio((VOICE + 0.1 * BACKING)[:, : song.samples.shape[1]], RATE_HZ) for song in songs]

    def emissions(self, voices, options):
        self.runs.append("emissions")
        return [self._emissions_of(voice) for voice in voices]

    def _emissions_of(self, voice):
        vocabulary, grid = self.acoustic.vocabulary, self.acoustic.grid
        symbols = [vocabulary.blank_id] * grid.count(voice.samples.shape[1])
        for word, first in WORD_FRAMES.items():
            # A letter and a blank in turn, so that double letters stay two.
            for index, letter in enumerate(word):
                symbols[first + 2 * index] = vocabulary.text_ids[letter]
            symbols[first + 2 * len(word)] = vocabulary.word_delimiter_id
        log_probs = torch.full((len(symbols), len(vocabulary.tokens)), -12.0)
        log_probs[torch.arange(len(symbols)), symbols] = 0.0
        return Emissions(log_probs.log_softmax(-1), vocabulary, grid, voice.duration_seconds)


def make_song(folder, model, name="song", lyrics="Sun, moon\nrain!\n", late_seconds=0.0, mixture=None):
    """A song whose fake emissions are late by `late_seconds` against its words."""
    samples = VOICE + BACKING if mixture is None else mixture
    write_audio(folder / f"{name}.wav", Audio(samples, RATE_HZ))
    write_audio(folder / f"{name}.vocals.wav", Audio(VOICE[:, : samples.shape[1]], RATE_HZ))
    onsets = [model.acoustic.grid.seconds(frame) - late_seconds for frame in WORD_FRAMES.values()]
    words = tuple(TimedWord(word, at, at + 0.1, 1.0) for word, at in zip(lyrics.split(), onsets, strict=False))
    return Song(name, folder / f"{name}.wav", lyrics, words, "en", vocals=folder / f"{name}.vocals.wav")
