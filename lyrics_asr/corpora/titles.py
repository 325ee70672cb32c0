"""What a title says of a recording: the song, whether it is an instrumental or an a cappella, and which version.

`Titan (feat. Ada) [2011 Remaster] - Instrumental` is the song "titan", an instrumental, of the plain version;
`Titan (Live)` is the same song in the version "live".

Conventions
- Texts are compared without case, accents and punctuation.
- What stands in brackets or after a dash is an addition. Words that are clear name an instrumental or a cappella
  anywhere in a title; words that also occur in names of songs, such as "playback", do so in an addition only.
- Additions that do not change the recording, such as guests and "remastered", are left out. The words of all others
  are the version, and so are numbers and words such as "live" or "remix" outside of additions.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Kind = Literal["mix", "instrumental", "a cappella"]


@dataclass(frozen=True)
class Title:
    """A title in parts.

    Args:
        song: the name of the song; empty if nothing is left of the title.
        kind: "mix" unless the title says otherwise.
        version: the words that tell versions of a song apart.
    """

    song: str
    kind: Kind
    version: frozenset[str]


def parse_title(title: str, album: str = "") -> Title:
    """Take a title apart; the kind is also that of an album such as "Titan (Instrumentals)"."""
    text = re.sub(r"[\[{【（「『]", "(", _fold(title))
    text = re.sub(r"[\]}】）」』]", ")", text)
    name, *additions = re.split(r"\s[-–—/|~]+\s", re.sub(r"\([^()]*\)?", " ", text))
    additions += re.findall(r"\(([^()]*)\)?", text)
    kind: Kind = "mix"
    version: set[str] = set()
    for addition in additions:
        found, rest = _take_kind(" ".join(_words(addition)), in_addition=True)
        words = set(_words(_NEUTRAL.sub(" ", rest)))
        if found != "mix":
            kind = found
            words = words if words - _BESIDE_KIND else set()
        version |= words
    found, rest = _take_kind(name, in_addition=False)
    song = _words(_NEUTRAL.sub(" ", rest))
    if song and found != "mix":
        kind = found
    song = song or _words(name)  # a song may be called "Karaoke"
    if kind == "mix" and album:
        kind = parse_title(album).kind
    version |= {word for word in song if word in _VERSION_WORDS or word.isdigit()}
    return Title(" ".join(song), kind, frozenset(version))


def artist_key(artist: str) -> str:
    """An artist's name for comparison: without guests, "the", case, accents, spaces and punctuation."""
    name = re.split(r"[\s(\[](?:feat|ft|featuring|vs)\b", _fold(artist))[0]
    name = re.sub(r"^the\s|,\s*the$", " ", name.replace("&", " and ").replace("+", " and ").strip())
    return "".join(_words(name))


def _fold(text: str) -> str:
    """The text in lower case, without accents; scripts that are written with marks keep them."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(each for each in decomposed if not "\u0300" <= each <= "\u036f")
    return unicodedata.normalize("NFKC", plain).replace("’", "'")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.replace("'", ""))


def _take_kind(text: str, *, in_addition: bool) -> tuple[Kind, str]:
    """The kind that a part of a title names, and the rest of the part."""
    kinds: tuple[tuple[Kind, re.Pattern[str], re.Pattern[str]], ...] = (
        ("a cappella", _A_CAPPELLA, _A_CAPPELLA_ADDITION),
        ("instrumental", _INSTRUMENTAL, _INSTRUMENTAL_ADDITION),
    )
    for kind, anywhere, addition in kinds:
        if anywhere.search(text):
            return kind, anywhere.sub(" ", text)
        if in_addition and addition.fullmatch(text):
            return kind, ""
    return "mix", text


def _any_of(words: str) -> re.Pattern[str]:
    """A pattern for any of the terms, which are separated by "|"; in scripts with spaces they are whole words."""
    terms = [_fold(term.strip()) for term in words.split("|")]
    spaced = "|".join(
        re.escape(term).replace(r"\ ", r"[\s-]*") for term in terms if term.isascii() or _has_spaces(term)
    )
    unspaced = "|".join(re.escape(term) for term in terms if not (term.isascii() or _has_spaces(term)))
    return re.compile(rf"(?<!\w)(?:{spaced})(?!\w)" + (f"|{unspaced}" if unspaced else ""))


def _has_spaces(term: str) -> bool:
    """Whether the term is in a script that separates words, here Latin or Cyrillic."""
    return all(unicodedata.name(each, "").startswith(("LATIN", "CYRILLIC")) for each in term if each.isalpha())


_INSTRUMENTAL = _any_of(
    "instrumental|instrumentals|instrumentale|instrumentales|instrumentaal|strumentale|instrumentalny|instrumentalna|"
    "instrumentalni|instrumentell|instrumentalversion|enstrumantal|karaoke|karaokeversion|halbplayback|backing track|"
    "backing tracks|backing version|minus one|minus 1|off vocal|off vocals|no vocal|no vocals|without vocal|"
    "without vocals|vocals removed|minus vocals|senza voce|base musicale|sin voz|pista musical|pista instrumental|"
    "sans voix|sans paroles|ohne gesang|zonder zang|sem voz|bez vokalu|инструментал|инструментальная|"
    "инструментальный|минусовка|караоке|カラオケ|オフボーカル|インスト|インストゥルメンタル|インストルメンタル|"
    "伴奏|纯音乐|純音樂|卡拉OK|반주|인스트루멘탈|인스트|노래방"
)
_INSTRUMENTAL_ADDITION = _any_of(
    "inst|instr|playback|play back|mr|mr version|minus|минус|tv track|tv mix|music only|base|pista"
)
_A_CAPPELLA = _any_of(
    "a cappella|a capella|a cappela|acappella|acapella|accapella|acappela|a cappellas|acapellas|acappellas|vocals only|"
    "vocal only|only vocals|isolated vocals|voz sola|solo voz|solo voce|voix seule|nur gesang|акапелла|а капелла|"
    "アカペラ|아카펠라|清唱"
)
_A_CAPPELLA_ADDITION = _any_of("vocals|vocal|vocal track|vocals track|lead vocals|pella|voice")

_NEUTRAL = re.compile(
    r"\b(?:feat|ft|featuring|prod|produced|originally performed|made famous|in the style of|made popular)\b.*$"
    r"|\b(?:\d{4}\s+)?(?:digital(?:ly)?\s+)?re-?master(?:ed|izado|ise|isee)?(?:\s+(?:in\s+)?\d{4})?\b"
    r"|\boriginal mix\b"
    r"|\b(?:official|audio|video|lyrics?|explicit|hq|hd|original|album|single|version|bonus|track)\b"
)
_BESIDE_KIND = frozenset(
    {"mix", "version", "ver", "track", "edit", "only", "the", "with", "performance", "studio", "of"}
)
"""Words that say nothing where they stand with "instrumental" alone: an instrumental mix is the instrumental."""

# fmt: off
_VERSION_WORDS = frozenset({
    "live", "remix", "rmx", "mix", "demo", "acoustic", "unplugged", "edit", "extended", "reprise", "dub", "medley",
    "cover", "rehearsal", "session", "sessions", "take", "alternate", "outtake", "part", "pt", "ii", "iii", "iv",
    "vivo", "directo", "acustico", "acustica", "acoustique", "akustik",
})
# fmt: on
