"""Our beam searches beside plain pyctcdecode, on noisy emissions of held-out lyrics: `python benchmarks/decoding.py`.

Held-out songs of data/lyrics are spelled into emissions through a noise model at three levels. The language model is a
trigram of the training songs' lyrics. Every decoder gets the same emissions, the same language model and the same
weights, beam and thresholds, those that are the default unless others are given. Plain pyctcdecode is called as
`Wav2Vec2ProcessorWithLM` of Hugging Face does it: `decode_beams` once over the whole song. Times are CPU seconds,
without loading.

The noise model: a letter lasts 1 to 4 frames of 20 ms and is followed by 0 to 4 blanks, by 1 more between two equal
letters; words are parted by delimiters, lines by 0.8 to 2 s of blanks and delimiters. Logits are `_CLARITY` for the
right symbol and 0 for the others, plus Gaussian noise: one draw for all the frames of a letter, so that letters are
misheard as a whole, and half as much for every frame.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pyctcdecode import build_ctcdecoder

from lyrics_asr.config import DecodingOptions
from lyrics_asr.datasets.synthetic import load_lyrics
from lyrics_asr.decoding import BeamSearch
from lyrics_asr.language_model import build_language_model, read_unigrams
from lyrics_asr.metrics import word_errors
from lyrics_asr.text import normalize
from lyrics_asr.types import Emissions, FrameGrid, Vocabulary

LYRICS = Path(__file__).resolve().parent.parent / "data" / "lyrics"
VOCABULARY = Vocabulary(("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'"), 0, 1)
GRID = FrameGrid(320, 400, 16_000)
LEVELS = {"mild": 1.6, "strong": 2.0, "harsh": 2.4}
_CLARITY = 8.0


@dataclass(frozen=True)
class Outcome:
    """What a decoder made of a corpus."""

    wer: float
    seconds: float


def main() -> int:
    """Run the benchmark; 1 when the default decoder is slower than plain pyctcdecode."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    defaults = DecodingOptions()
    parser.add_argument("--songs", type=int, default=1, help="how many of the held-out songs (%(default)s)")
    parser.add_argument("--alpha", type=float, default=defaults.alpha, help="of all decoders (%(default)s)")
    parser.add_argument("--beta", type=float, default=defaults.beta, help="of all decoders (%(default)s)")
    parser.add_argument("--beam-width", type=int, default=defaults.beam_width, help="of all decoders (%(default)s)")
    given = parser.parse_args()
    options = replace(defaults, alpha=given.alpha, beta=given.beta, beam_width=given.beam_width)
    torch.set_num_threads(1)  # plain pyctcdecode uses no more
    songs = [normalize_lines(song) for song in load_lyrics(LYRICS, "held_out").values()][: given.songs]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.arpa"
        training = load_lyrics(LYRICS, "training").values()
        build_language_model((line for song in training for line in normalize_lines(song)), 3, path)
        decoders = {"plain pyctcdecode": plain(path, options)} | {
            f"our {name}{' (default)' * (name == defaults.decoder)}": ours(path, replace(options, decoder=name))
            for name in ("pyctcdecode", "flashlight")
        }
        for level, noise in LEVELS.items():
            emissions = [spell(song, noise, random.Random(seed)) for seed, song in enumerate(songs)]
            print(f"{level} noise: {len(songs)} songs, {sum(each.duration_seconds for each in emissions):.0f} s")
            base: Outcome | None = None
            for name, decode in decoders.items():
                outcome = measure(decode, emissions, [" ".join(song) for song in songs])
                base = base or outcome
                print(
                    f"  {name:26} WER {outcome.wer:6.1%} (x {outcome.wer / base.wer:.2f})   "
                    f"{outcome.seconds:7.2f} s (x {outcome.seconds / base.seconds:.3f})",
                    flush=True,
                )
                if "default" in name:
                    failed |= outcome.seconds > base.seconds
    return int(failed)


def measure(decode: Callable[[Emissions], str], emissions: Sequence[Emissions], references: Sequence[str]) -> Outcome:
    """Decode all songs, one after the other."""
    began = time.process_time()
    heard = [decode(each) for each in emissions]
    seconds = time.process_time() - began
    return Outcome(word_errors(references, heard).rate, seconds)


def plain(path: Path, options: DecodingOptions) -> Callable[[Emissions], str]:
    """The search of pyctcdecode by itself."""
    labels = ["", " ", *VOCABULARY.tokens[2:]]
    decoder = build_ctcdecoder(
        labels,
        str(path),
        read_unigrams(path),
        alpha=options.alpha,
        beta=options.beta,
        unk_score_offset=options.unknown_word_log10,
    )

    def decode(emissions: Emissions) -> str:
        beams = decoder.decode_beams(
            emissions.log_probs.numpy(),
            beam_width=options.beam_width,
            beam_prune_logp=options.beam_prune_logp,
            token_min_logp=options.token_min_logp,
        )
        return str(beams[0][0])

    return decode


def ours(path: Path, options: DecodingOptions) -> Callable[[Emissions], str]:
    """Our search with one of its back ends."""
    search = BeamSearch(VOCABULARY, path, options)
    return lambda emissions: " ".join(word.text for word in search.decode(emissions))


def normalize_lines(stanzas: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a song, in the letters of the vocabulary."""
    return [text for stanza in stanzas for line in stanza if (text := normalize(line, "en"))]


def spell(lines: Sequence[str], noise: float, rng: random.Random) -> Emissions:
    """Emissions of sung lines (see the module's docstring)."""
    runs = list(_runs(lines, rng))
    symbols = torch.tensor([symbol for symbol, frames in runs for _ in range(frames)])
    owners = torch.tensor([i for i, (_, frames) in enumerate(runs) for _ in range(frames)])
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    size = len(VOCABULARY.tokens)
    logits = _CLARITY * torch.nn.functional.one_hot(symbols, size).float()
    logits += noise * torch.randn(len(runs), size, generator=generator)[owners]
    logits += noise / 2 * torch.randn(len(symbols), size, generator=generator)
    return Emissions(logits.log_softmax(-1), VOCABULARY, GRID, (320 * len(symbols) + 80) / 16_000)


def _runs(lines: Sequence[str], rng: random.Random) -> Iterator[tuple[int, int]]:
    """Symbols and how many frames they last."""
    for line in lines:
        for word in line.split():
            previous = ""
            for letter in word:
                yield VOCABULARY.blank_id, rng.randint(0, 4) + (letter == previous)
                yield VOCABULARY.tokens.index(letter), rng.randint(1, 4)
                previous = letter
            yield VOCABULARY.blank_id, rng.randint(0, 2)
            yield 1, rng.randint(1, 4)
        yield VOCABULARY.blank_id, rng.randint(40, 100)
        yield 1, 1


if __name__ == "__main__":
    sys.exit(main())
