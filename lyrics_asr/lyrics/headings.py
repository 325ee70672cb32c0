"""Headings and repeat marks of lyrics sheets, line by line.

Conventions
- A heading names a section: a line in square brackets, or a name such as "Verse 1:", "(Chorus x2)", "Refrain", "Strophe
  2", "Couplet 1", "Estribillo". Names that are also words ("Bridge", "Solo") need a number, a colon, brackets, a place
  at the start of a stanza, or other headings. Text after a heading on the same line is sung: "[Verse 1] Hello".
- Who sings, such as "All:" or "[Anna]" below another heading, is not sung and starts no section.
- Repeat marks ("x2", "(2x)", "bis") are not sung.
"""

import re
from dataclasses import dataclass

_NUMBER = (
    r"(?:(?:no?[.°º]|nr\.?|\#) ?)?(?:\d{1,2}|[ivx]{1,4}|one|two|three|four|five|six|eins|zwei|drei|vier|fünf"
    r"|uno|dos|tres|cuatro|un|deux|trois|quatre)"
)
_NUMBERS = rf"{_NUMBER}(?: ?(?:[-&,+/]|and|und|et|y) ?{_NUMBER})*[a-d]?|[a-d]"
_ORDINAL = (
    r"\d{1,2}(?:st|nd|rd|th|ère|er|re|ème|e|[.ºª])|first|second|third|fourth|fifth|double|half"
    r"|erste[rs]?|zweite[rs]?|dritte[rs]?|vierte[rs]?|premi(?:er|ère)|deuxième|troisième|primera?|segund[ao]|tercera?"
)
_AGAIN = (
    r"last|final|letzte[rs]?|derni(?:er|ère)|últim[ao]|repeat(?: the)?|rep\.?|back to(?: the)?|répéter(?: le)?"
    r"|au(?= refrain)|repetir(?: el)?|(?:se )?repite(?: el)?|reprise du"
    r"|wiederholung|wdh\.?"
)
_INSTRUMENT = (
    r"guitar|piano|sax(?:ophone)?|drums?|bass|keyboard|keys|organ|violin|fiddle|harmonica|trumpet|flute|synth|vocal"
    r"|gitarren?|klavier|schlagzeug|guitarra|batería|guitare|batterie|guitares|chitarra"
)
_SURE = (
    r"verses?|(?:pre|post)? ?chorus|intro(?:duction)?|outro|interlude|refrain|instrumentals?|middle (?:eight|8)"
    r"|instrumental (?:break|solo|bridge|intro|outro|interlude)"
    rf"|(?:{_INSTRUMENT}|music(?:al)?) ?(?:solo|break|riff|interlude)"
    rf"|solo (?:de |di |du |d')?(?:{_INSTRUMENT})|ad ?libs?|spoken word"
    r"|estrofa|(?:pre ?)?estribillo|pre ?coro|interludio|introducción"
    r"|couplet|strophe|(?:pré|pre|avant|post) ?refrain|kehrreim|zwischenspiel|vorspiel|nachspiel"
    r"|strofa|ritornello|refrão"
)
_PERHAPS = (
    r"ref\.?|chor|[rv](?=\W*\d|\W*$)|fade ?out|backing vocals|bridge|hook|break(?:down)?|solo|coda|tag"
    r"|ending|end|vamp|drop|build(?: ?up)?|skit|spoken|rap|part|section|stanza"
    r"|reprise|turnaround|prelude|coro|verso|puente|final|parte|pont|partie|vers|brücke|teil|schluss|ponte|fin|ende"
)
_NAME = re.compile(
    rf"(?P<again>{_AGAIN})? ?"
    rf"(?P<key>(?:(?P<ordinal>{_ORDINAL}) )*(?:(?P<sure>{_SURE})|(?:{_PERHAPS}))"
    rf"(?: ?(?P<number>(?:(?<= )|(?=[\d\#]))(?:{_NUMBERS})))?)"
    r"(?: again| repeats?| répétition| (?:to|till|until) fade| (?:and )?fade ?out)?"
)
_TIMES = (
    r"(?:[x×*] ?\d{1,2}(?: times)?|\d{1,2} ?(?:[x×*]|times|mal|fois|veces|volte)|twice|thrice|(?:two|three|four) times"
    r"|bis|ter"
    r"|zweimal|dreimal|deux fois|trois fois|dos veces|tres veces)"
)
_COUNTS = {"twice": 2, "two": 2, "bis": 2, "zweimal": 2, "deux": 2, "dos": 2}
_COUNTS |= {"thrice": 3, "three": 3, "ter": 3, "dreimal": 3, "trois": 3, "tres": 3, "four": 4}
_REPEAT = rf"(?:(?:repeat(?:ed)?|rpt|rep\.?|repite|répéter|wdh\.?),? ?(?:{_TIMES}|\d)?|{_TIMES}(?: wiederholen)?)"
_BRACKETED_MARK = rf"[(\[{{]\s*{_REPEAT}\s*[)\]}}]"
_MARK_AT_END = re.compile(
    rf"(?:\s*{_BRACKETED_MARK}|(?:^|(?<=\W))(?:[x×]\d{{1,2}}|(?-i:[x×]) \d{{1,2}}|\d{{1,2}} ?[x×])"
    r"|\s*:?[|/]{1,2}:?)[.!]?$",
    re.IGNORECASE,
)
_MARK_AT_START = re.compile(
    rf"^(?:{_BRACKETED_MARK}\s*|(?:[x×]\d{{1,2}}|\d{{1,2}}[x×])[\s:]+|:?[|/]{{1,2}}:?\s*)", re.IGNORECASE
)
_BIS_AT_END = re.compile(r"\s+bis[.!]?$", re.IGNORECASE)
_ONLY_MARK = re.compile(
    rf"{_BRACKETED_MARK}|\W*(?:[x×] ?\d+|\d+ ?[x×]|bis|rep(?:eat|\.)(?: {_TIMES})?)\W*", re.IGNORECASE
)
_BRACKETS = re.compile(r"(?:[(\[{<【«][^()\[\]{}<>]*[)\]}>】»]\s*)+")
_SQUARE_BRACKETS = re.compile(r"(?:\[[^\[\]]*\]\s*)+(?:[x×] ?\d+|\d+ ?[x×])?", re.IGNORECASE)
_LABEL = re.compile(r"([(\[{])([^()\[\]{}]*)[)\]}]\s*:?\s*(.*)")
_SINGERS = re.compile(
    r"[(\[]?(?:all|both|men|women|boys|girls|male|female|everyone|crowd|choir|alle|beide|tous|todos|ensemble)"
    r"(?:\s*:[)\]]?\s*(.*)|[)\]])",
    re.IGNORECASE,
)
SECTION_END = "[-]"
"""A heading for lines that belong to no section."""
_MAX_MARKS = 4
_DECORATION = '#*_=~-–—•·|"“”'


@dataclass(frozen=True)
class Heading:
    """A heading.

    Args:
        text: the line.
        keys: the sections it names.
        count: how often they are sung.
        rest: what is sung after it on its line.
        is_label: whether it says who sings, within a section.
    """

    text: str
    keys: tuple[str, ...] = ()
    count: int = 1
    rest: str = ""
    is_label: bool = False


def is_heading(line: str) -> bool:
    """Whether a line without outer white space is entirely in square brackets."""
    return re.fullmatch(r"\[[^\[\]]*\]", line) is not None


def parse_heading(
    line: str, *, starts_stanza: bool = False, may_be_name: bool = False, is_followed: bool = True
) -> Heading | None:
    """Parse a heading, with or without brackets; None for other lines.

    Args:
        line: without outer white space.
        starts_stanza: whether the line is the first one of a stanza with more lines.
        may_be_name: whether a word such as "Bridge" alone is the name of a section.
        is_followed: whether a line follows directly.
    """
    if re.fullmatch(r"#{1,6} [^#]+", line):  # Markdown
        return _named(line, may_be_name=True, is_bracketed=True) or Heading(line)
    if _SQUARE_BRACKETS.fullmatch(line):
        return _named(line, may_be_name=True, is_bracketed=True) or Heading(line)
    found = _named(line, may_be_name, is_bracketed=bool(_BRACKETS.fullmatch(line)))
    if found is not None:
        return found
    if (label := _LABEL.fullmatch(line)) and (
        found := _named(label[2], may_be_name=label[1] == "[", is_bracketed=True)
    ):
        return Heading(found.text, found.keys, found.count, label[3])
    if starts_stanza and (number := re.fullmatch(r"\d{1,2}[.)](?:\s+(\D.*))?", line)):  # stanzas of a hymn
        return Heading(line, rest=number[1] or "")
    if label := _SINGERS.fullmatch(line):
        return Heading(line, rest=label[1] or "", is_label=True)
    name, colon, rest = line.partition(":")
    if colon and rest.strip() and (found := _named(name, may_be_name=True, is_bracketed=True)):
        return Heading(found.text, found.keys, found.count, "" if is_followed and _is_singer(rest) else rest.strip())
    return None


def _named(line: str, may_be_name: bool, is_bracketed: bool) -> Heading | None:
    """A line that is only a heading with a known name."""
    text = line.strip(_DECORATION + " ")
    is_marked = is_bracketed or text != line.strip()
    if is_bracketed:
        text = re.sub(r"[\[\]{}<>【】«»]|^\(|\)$", " ", text)
    text = " ".join(text.split()).casefold()
    name, dash, _ = (part.strip() for part in re.split(r" ([-–—]) ", text + " - ", maxsplit=1))
    if dash and (match := _NAME.fullmatch(name)) and match["sure"]:  # Chorus - Somebody
        text = name
    text = re.sub(r"[-_‐–—]", " ", text)
    text, count = _split_count(text)
    if is_bracketed:  # [Verse 1: Somebody], [Chorus - everybody]
        text = re.split(r":| {2,}|, ", text)[0]
    without_comment = re.sub(r"(?<=\w) ?[(\[][^()\[\]]*[)\]]$", "", text)
    is_marked = is_marked or count > 1 or text.rstrip().endswith(":") or without_comment != text
    text, again_count = _split_count(without_comment)
    text = text.rstrip(" :.,")
    keys = []
    for part in re.split(r" ?(?:/|\+|&|,| and )(?! ?\d) ?", text):
        match = _NAME.fullmatch(part.strip())
        if match is None:
            return None
        if not (match["sure"] or match["number"] or match["ordinal"] or match["again"] or is_marked or may_be_name):
            return None
        keys.append(re.sub(r"\W+", "", match["key"]))
    return Heading(line, tuple(keys), max(count, again_count))


def _split_count(text: str) -> tuple[str, int]:
    """Split "chorus x2" into the text and the number of times, 1 if it has none."""
    match = re.search(rf" ?[(\[{{]? ?(?:repeat,? )?({_TIMES})\W*$", text)
    if match is None or match.start() == 0:
        return text, 1
    digits = re.search(r"\d+", match[1])
    return text[: match.start()], int(digits[0]) if digits else _COUNTS.get(match[1].split()[0], 1)


def _is_singer(rest: str) -> bool:
    """Whether the text after "Verse 1:" is who sings it, such as "Anna & Ben", rather than the first line."""
    words = [
        word for word in rest.split() if word.lower() not in ("&", "and", "feat.", "ft.", "with", "+", "und", "y", "et")
    ]
    return 2 <= len(rest.split()) <= 5 and all(re.fullmatch(r"[^\W\d_a-z].*[^.!?,;:…]", word) for word in words)


def without_marks(line: str, german: bool) -> str:
    """A line without repeat marks and bar lines."""
    if _ONLY_MARK.fullmatch(line) and not (german and line.casefold() == "bis"):
        return ""
    for _ in range(_MAX_MARKS):
        line = _MARK_AT_START.sub("", _MARK_AT_END.sub("", line)).strip()
    if not german and len(line.split()) > 2:  # in German, "bis" is a word
        line = _BIS_AT_END.sub("", line)
    return line
