"""What sites and files put around lyrics: counters, buttons, credits, links, titles. It is not sung.

Credits and other data are only looked for in the first and last lines: further inside, lines like them are sung.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from lyrics_asr.lyrics.sheet import SheetLine

_EMBED = re.compile(r"\d*(?:\.\d+)?[KM]?Embed(?:Share ?URLCopyEmbedCopy)?$")
_CONTRIBUTORS = r"\d+ ?(?:Contributors?|Contribut(?:eur|rice)s?|Contribuidores|Colaborador(?:es)?|Mitwirkende)"
_TRANSLATIONS = r"(?:Translations?|Traductions?|Traducci(?:ones|ón)|Übersetzung(?:en)?)"
_SUGGESTIONS = (
    r"(?:You might also like|Vous (?:aimerez(?: peut-être)? aussi|pourriez aussi aimer)"
    r"|(?:También|Quizás también) te (?:puede|podría) (?:gustar|interesar)|Das könnte (?:dir|Ihnen) auch gefallen)"
)
_TICKETS = r"Get tickets as low as [$€£]\d+"
_LANGUAGES = (
    r"(?:English|Deutsch|Español|Français|Português|Italiano|Nederlands|Polski|Čeština|Magyar|Română|Türkçe|Svenska"
    r"|Dansk|Norsk|Suomi|Русский|Українська|Ελληνικά|العربية|فارسی|עברית|हिन्दी|日本語|한국어|中文)(?: \([^()]+\))?"
)
_HEADER = re.compile(rf"^{_CONTRIBUTORS}(?=\D).*?Lyrics(?=\[|$|[A-Z\"“'‘¿¡(]|\s)(?:.*Read More ?)?")
_ANYWHERE = re.compile(
    rf"^{_CONTRIBUTORS}$|{_SUGGESTIONS}(?=\[|$|[A-ZÀ-Þ])|^\(\d{{10,}}\)$"
    rf"|See [^\n]{{1,60}}? Live{_TICKETS}|^{_TICKETS}(?={_SUGGESTIONS}|$)|\[\?+\] ?"
    r"|\*{3,} ?This Lyrics is NOT for Commercial use ?\*{3,}"
)
_CREDIT = re.compile(
    r"\W*(?:(?:lyrics|music|words|song|text|translation|translated|transcribed|transcription|written|composed|produced"
    r"|arranged|performed|sung|recorded|published|publisher|writers?(?:\(s\)|/s)?|songwriters?(?:\(s\))?|composers?"
    r"|producers?|lyricists?|source|fuente|quelle|source|copyright|licensed|provided|powered|submitted|corrected|thanks"
    r"|letra|música|traducción|traducida?|paroles|musique|traduction|traduit|paroliers?|auteurs?|compositeurs?"
    r"|autor|autores|compositor(?:es)?"
    r"|übersetzung|übersetzt|musik|songtext|liedtext|komponist(?:en|in)?|texter|title|artist|album|song|singer|band|year|genre"
    r"|released?|language|titre|artiste|titel|interpret|título|artista|作词|作曲|编曲|作詞|編曲|制作人)"
    r"(?:(?: (?:and|&|y|et|und) (?:music|lyrics|words|música|musique|musik|letra))?"
    r"(?: ?(?:by|par|por|von):? (?-i:[^\W\d_a-zß-ÿ]).*| .*for .*lyrics.*| ?[:：] ?.*| ?© ?.*| ?\(c\).*))"
    r"|(?:.*[©℗]|all rights reserved|\(c\) \d{4}).*"
    r"|(?:https?://|www\.)\S+|[\w.-]+\.(?:com|net|org|de|fr|es|ru|info)(?:/\S*)?"
    r"|(?:paroles|letra|songtext|text|lyrics|testo) (?:de la chanson|de la canción|of the song|von|de|zu|to)"
    r" (?-i:[^\W\d_a-zß-ÿ]).*|lyrics (?:from|powered by|licensed|provided|©).*|(?-i:.* Lyrics)"
    r"|read more|submit corrections|report a problem"
    r"|song discussions is protected.*|add to favorites|correct these lyrics)\W*",
    re.IGNORECASE,
)
_EDGE_LINES = 4


def without_residue(lines: Sequence[SheetLine]) -> tuple[SheetLine, ...]:
    """The lines without a site's residue and without credits; lines that had nothing else are blank."""
    texts = [line.text.strip() for line in lines]
    written = [position for position, text in enumerate(texts) if text]
    if written and _HEADER.match(texts[written[0]]):
        texts[written[0]] = _HEADER.sub("", texts[written[0]])
    if written:
        texts[written[-1]] = _EMBED.sub("", texts[written[-1]])
    for position in written[-_EDGE_LINES:]:
        if _EMBED.fullmatch(texts[position]):  # and buttons below it
            texts[position:] = [""] * (len(texts) - position)
    texts = [_ANYWHERE.sub("", text).strip() for text in _without_widgets(texts)]
    written = [position for position, text in enumerate(texts) if text]
    for edge in (written[:_EDGE_LINES], written[-_EDGE_LINES:]):
        for position in edge:
            if _CREDIT.fullmatch(texts[position]):
                texts[position] = ""
    return tuple(replace(line, text=text) for line, text in zip(lines, texts, strict=True))


def _without_widgets(texts: Sequence[str]) -> list[str]:
    """The lines without what sites show in several lines: "See Somebody Live" over a price, languages."""
    kept, is_list = list[str](), False
    for position, text in enumerate(texts):
        following = next(filter(None, texts[position + 1 :]), "")
        is_list = bool(re.fullmatch(_TRANSLATIONS, text) or (is_list and re.fullmatch(_LANGUAGES, text)))
        is_offer = re.fullmatch(r"See .{1,60} Live", text) and re.match(_TICKETS, following)
        kept.append("" if is_list or is_offer else text)
    return kept
