"""The phone inventory of cuts, and the grapheme-to-phone probabilities that their words give."""

from collections.abc import Iterator, Sequence

from lhotse import CutSet

from lyrics_asr.training.data.cut_reader import has_words, phones_of_words, timed_words
from lyrics_asr.training.data.labels import Labeller, SpokenWord, learn_g2p
from lyrics_asr.training.data.lhotse_io import manifest_files
from lyrics_asr.training.data.object_storage import CutsPath
from lyrics_asr.types import Vocabulary


def phone_names(cuts: Sequence[CutsPath]) -> tuple[str, ...]:
    """The phones of some files of cuts, sorted.

    Raises:
        ValueError: cuts with words but without phones; the message names one.
    """
    names: set[str] = set()
    without: list[str] = []
    for cut in _cuts(cuts):
        own = {item.symbol for each in cut.supervisions for item in (each.alignment or {}).get("phone", ())}
        names |= own
        if not own and has_words(cut):
            without.append(cut.id)
    if without:
        raise ValueError(
            f"phone_weight needs the phones of every word, which {len(without)} cuts lack, such as {without[0]!r}; set "
            "it to 0, or make the cuts with `lyrics-asr data cuts` from songs of `lyrics-asr data synth`"
        )
    return tuple(sorted(names))


def labeller_of(cuts: Sequence[CutsPath], vocabulary: Vocabulary, phones: Sequence[str]) -> Labeller:
    """A labeller that gives letters the times of their phones, learned from the words of the cuts.

    Args:
        cuts: files of cuts.
        vocabulary: of the letters.
        phones: the inventory.
    """
    words: set[SpokenWord] = set()
    for cut in _cuts(cuts):
        for supervision in cut.supervisions:
            timed = timed_words(supervision)
            for word, own in zip(timed, phones_of_words(supervision, timed), strict=True):
                if own:
                    words.add((supervision.language or "en", word.text, tuple(phone.name for phone in own)))
    return Labeller(vocabulary, phones, learn_g2p(sorted(words), vocabulary))


def _cuts(paths: Sequence[CutsPath]) -> Iterator[CutSet]:
    for path in paths:
        for file in manifest_files(path):
            yield from CutSet.from_jsonl_lazy(file)
