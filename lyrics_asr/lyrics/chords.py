"""Chord sheets: ChordPro, chords or their numbers over the words, and tablature.

Conventions
- Chords in brackets inside lines ("[Am]Hello", "Hal[D]le[G]lujah"), lines of chords, tablature, and notes such as "Capo
  2" are dropped. German names (H, Fis, Es) and names of the solfège (Lam, SOL7) are chords as well.
- Numbers over the words ("1 4 57", "6- 4/6": the Nashville number system) are chords if lines of them and lines of
  words take turns, or if there are several lines of them with some that nobody sings, such as "6-".
- "A", "Am" and "Em" are words too: a line of such chords alone is dropped only in a sheet that certainly has chords.
- ChordPro's directives become headings ({start_of_chorus}, {chorus}, {comment: Bridge}) or are dropped.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from lyrics_asr.lyrics.headings import SECTION_END, parse_heading
from lyrics_asr.lyrics.sheet import SheetLine

_SOLFEGE = "DO|RE|RÉ|MI|FA|SOL|LA|SI|Do|Re|Ré|Mi|Fa|Sol|La|Si"
_ROOT = rf"(?:Fis|Cis|Gis|Dis|Ais|Des|Ges|Es|As|{_SOLFEGE}|[A-H])(?:#|b|♯|♭)?"
_QUALITY = r"(?:maj|min|mi|ma|m|M|dim|aug|sus|add|alt|omit|no|°|º|ø|Δ|\+|-|\^|\(|\)|,|[#b]?\d{1,2})"
_CHORD = re.compile(rf"(?:{_ROOT}{_QUALITY}*(?:/{_ROOT}|/\d)?|N\.? ?C\.?)\*?")
_GERMAN_MINOR = re.compile(r"(?:[acdefgh]|fis|cis|gis|dis|b)(?:7|m7)?")
_NUMBER_CHORD = re.compile(
    r"[b#♭♯]?[1-7](?:maj|min|m|dim|aug|sus|add|[-°øo+Δ^]|[5679]|1[13]|[#b]\d{1,2})*(?:/[b#♭♯]?[1-7])?\*?"
)
_FILLER = re.compile(r"[|:/%.*~,–—-]+|\(?[x×]\d\)?|\(?\d[x×]\)?|\(?\d\)?|\.\.\.|…|\(repeat\)", re.IGNORECASE)
_WORDS = frozenset(
    {"Am", "As", "Es", "Em", "Hm", "Ad", "Dim", "Dis", "Des", "Do", "Re", "Mi", "Fa", "Sol", "La", "Si", "Mim", "Sim"}
)
"""Chords that are also words."""

_DIRECTIVE = re.compile(r"\s*\{\s*([a-zA-Z_]+)(?:-[\w!]+)?\s*(?:[:\s]\s*(.*?))?\s*\}\s*")
_OTHER_DIRECTIVES = frozenset(
    {"title", "t", "subtitle", "st", "artist", "composer", "lyricist", "copyright", "album", "year", "key", "time"}
    | {"tempo", "duration", "capo", "meta", "define", "chord", "new_song", "ns", "new_page", "np", "column_break"}
    | {"columns", "col", "textfont", "textsize", "chordfont", "chordsize", "transpose", "image", "sorttitle"}
)
_STARTS = {"soc": "Chorus", "sov": "Verse", "sob": "Bridge", "start_of_chorus": "Chorus", "start_of_verse": "Verse"}
_STARTS |= {"start_of_bridge": "Bridge", "chorus": "Chorus"}
_ENDS = frozenset({"eoc", "eov", "eob", "end_of_chorus", "end_of_verse", "end_of_bridge"})
_COMMENTS = frozenset({"comment", "c", "comment_italic", "ci", "comment_box", "cb", "highlight"})
_UNSUNG_STARTS = frozenset({"sot", "sog", "start_of_tab", "start_of_grid", "start_of_abc", "start_of_ly"})
_DIRECTIVES = _OTHER_DIRECTIVES | _STARTS.keys() | _ENDS | _COMMENTS | _UNSUNG_STARTS
_TAB = re.compile(r"\s*(?:[eEADGBHdgba][#b]?\s*)?[|:‖]*(?=(?:.*[-–]){4})[-–\d|hpbrstxX/\\~()^*<>.=: ]+")
_NOTE = re.compile(
    r"\s*[(\[]?(?:capo\b.{0,20}|(?:tuning|afinación|accordage|stimmung|tempo|bpm|strumming(?: pattern)?|key|tonart|tono"
    r"|tonalité|time|time signature|tabbed by|chords by|difficulty)\s*[:=].*|standard tuning|no capo)[)\]]?\s*",
    re.IGNORECASE,
)
_SQUARE = re.compile(r"\[([^\[\]]*)\]")
_ROUND = re.compile(r"\(([^()\s]+)\)")
_SITE_TAGS = re.compile(r"\[/?(?:ch|tab)\]")
_MIN_SHARE = 0.3


def read(text: str) -> tuple[SheetLine, ...] | None:
    """Read the lines without their chords; None if the text is no chord sheet."""
    tagged = _SITE_TAGS.search(text) is not None
    lines = _SITE_TAGS.sub("", text).splitlines()
    has_directives = any((match := _DIRECTIVE.fullmatch(line)) and match[1].lower() in _DIRECTIVES for line in lines)
    square = [chord for line in lines for chord in _SQUARE.findall(line) if _are_chords(chord.lstrip("*"))]
    has_inline = has_directives or any(not _is_word(chord) for chord in square)
    has_round = sum(not _is_word(chord) for line in lines for chord in _ROUND.findall(line) if _are_chords(chord)) > 1
    has_lines = _has_chord_lines(lines) or tagged
    has_numbers = _has_number_lines(lines)
    notes = any(_NOTE.fullmatch(line) or _TAB.fullmatch(line) for line in lines)
    if not (has_inline or has_round or has_lines or has_numbers or notes):
        return None
    kept: list[SheetLine] = []
    for line in _without_directives(lines) if has_directives else lines:
        plain = (
            _SQUARE.sub(lambda match: "" if _are_chords(match[1].lstrip("*")) else match[0], line)
            if has_inline
            else line
        )
        if has_round:
            plain = _ROUND.sub(lambda match: "" if _are_chords(match[1]) else match[0], plain)
        is_dropped = plain != line and not plain.strip(" |-")
        is_dropped |= bool(_NOTE.fullmatch(line) or _TAB.fullmatch(line))
        is_dropped |= (has_lines or has_inline) and _is_chord_line(line, in_chord_sheet=True)
        is_dropped |= has_numbers and _is_number_line(line)
        if not is_dropped:
            kept.append(SheetLine(" ".join(plain.split())))
    return tuple(kept)


def _without_directives(lines: Sequence[str]) -> Iterator[str]:
    """Lines of ChordPro, where directives are headings or nothing."""
    is_unsung = False
    for line in lines:
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            if not (is_unsung or line.startswith("#")):
                yield line
            continue
        name, value = match[1].lower(), (match[2] or "").removeprefix("label=").strip("\"' ")
        is_unsung = name in _UNSUNG_STARTS
        if name in _STARTS:
            heading = parse_heading(f"[{value}]")
            yield f"[{value if heading and heading.keys else _STARTS[name]}]"
            if name == "chorus":  # the chorus again, without its lines
                yield SECTION_END
        elif name in _ENDS:
            yield SECTION_END
        elif name in _COMMENTS and (heading := parse_heading(f"({value})")) and heading.keys:
            yield f"[{value}]"


def _has_chord_lines(lines: Sequence[str]) -> bool:
    written = [line for line in lines if line.strip()]
    certain = [line for line in written if _is_chord_line(line)]
    if len(certain) > 1 or any(len(line.split()) > 1 for line in certain):
        return True
    # Major triads alone look like letters: here, lines of them and lines of words take turns.
    above = []
    for line, following in pairwise(written):
        if _is_chord_line(line, in_chord_sheet=True) and not _is_chord_line(following, in_chord_sheet=True):
            above.append(line)
    return len(above) > max(1, _MIN_SHARE * len(written)) and any(len(line.split()) > 1 for line in above)


def _has_number_lines(lines: Sequence[str]) -> bool:
    written = [line for line in lines if line.strip()]
    above = [line for line, below in pairwise(written) if _is_number_line(line) and not _is_number_line(below)]
    several = [line for line in above if len(line.split()) > 1 and not _counts_up(line)]
    if len(set(several)) > 1 and any(re.search(r"[^\d\s|]", line) for line in several):
        return True
    return len(above) > max(1, _MIN_SHARE * len(written)) and bool(several)


def _is_number_line(line: str) -> bool:
    """Whether a line has nothing but numbers of chords."""
    tokens = [token for token in re.split(r"[\s|]+", _without_label(line)) if token]
    return any(map(_NUMBER_CHORD.fullmatch, tokens)) and all(
        _NUMBER_CHORD.fullmatch(token) or _FILLER.fullmatch(token) for token in tokens
    )


def _counts_up(line: str) -> bool:
    """Whether a line counts, as singers do: "1 2 3 4"."""
    numbers = [int(token) if token.isdecimal() else -1 for token in line.split()]
    return len(numbers) > 2 and all(after == before + 1 for before, after in pairwise(numbers))


def _without_label(line: str) -> str:
    """What follows "Intro:" or "[Intro]"; the line if neither precedes anything."""
    name, _, rest = line.partition(":")
    if rest.strip() and parse_heading(name.strip(), may_be_name=True):
        return rest
    label = re.match(r"\s*\[([^\[\]]*)\]\s*(?=\S)", line)
    return line if label is None or _are_chords(label[1]) else line[label.end() :]


def _is_chord_line(line: str, *, in_chord_sheet: bool = False) -> bool:
    """Whether a line has nothing but chords.

    Args:
        line: the line.
        in_chord_sheet: whether the sheet is known to have chords; if not, chords that are also words do not count.
    """
    line = _without_label(re.sub(r"^\.(?=[A-H])", "", line))  # OpenSong
    tokens = [token for part in re.split(r"[\s|]+|(?<=\w)[-–]+(?=[A-H]\b)", line) if (token := part.strip("|()[]:"))]
    chords = [token for token in tokens if _CHORD.fullmatch(token)]
    minors = [token for token in tokens if token not in chords and _GERMAN_MINOR.fullmatch(token)]
    if not chords + minors or not all(
        token in chords or token in minors or _FILLER.fullmatch(token) for token in tokens
    ):
        return False
    is_wide = re.search(r"\S(?:\s{2,}|\s*\|\s*)\S", line.strip()) is not None
    if len(chords) < len(minors):
        return in_chord_sheet and is_wide
    if in_chord_sheet or any(not _is_word(chord) for chord in chords):
        return True
    return len(chords) > 1 and (is_wide or "Am" in chords)


def _are_chords(text: str) -> bool:
    tokens = text.replace("|", " ").split()
    return bool(tokens) and all(_CHORD.fullmatch(token) for token in tokens)


def _is_word(chord: str) -> bool:
    """Whether a chord may as well be a word or a letter."""
    return chord in _WORDS or len(chord) == 1
