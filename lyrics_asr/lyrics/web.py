"""Lyrics copied from web pages with their HTML."""

import html
import re
from html.parser import HTMLParser

_BREAKS = frozenset({"br", "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "section", "pre", "ul", "ol", "hr"})
_STANZAS = frozenset({"p", "h1", "h2", "h3", "h4", "pre", "section"})
_DROPPED = frozenset(
    {"script", "style", "head", "noscript", "button", "nav", "footer", "header", "svg", "form", "aside"}
)
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "wbr", "source", "area", "col", "embed"})
_LYRICS = re.compile(r"lyric|letra|paroles|songtext|liedtext|testo", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def read(text: str) -> str | None:
    """The text of a page or a part of one: of its lyrics alone, if an element's class, id or attribute names them."""
    if not _TAG.search(text):
        plain = html.unescape(text)
        return None if plain == text else plain
    lyrics, everything = _Text(only_lyrics=True), _Text(only_lyrics=False)
    for parser in (lyrics, everything):
        parser.feed(text)
        parser.close()
        if plain := parser.text():
            return plain
    return None


class _Text(HTMLParser):
    """The text of a page, with its line breaks.

    Args:
        only_lyrics: whether text outside elements for lyrics is dropped.
    """

    def __init__(self, *, only_lyrics: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._only_lyrics = only_lyrics
        self._parts: list[str] = []
        self._open: list[tuple[str, bool, bool]] = []  # name, whether for lyrics, whether dropped

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Start an element."""
        if tag in _BREAKS:
            self._parts.append("\n" if tag == "br" else "\n\n" if tag in _STANZAS else "\v")
        if tag not in _VOID:
            _, is_lyrics, is_dropped = self._open[-1] if self._open else ("", not self._only_lyrics, False)
            named = any(_LYRICS.search(f"{name} {value}") for name, value in attributes if name not in ("href", "src"))
            excluded = any(name == "data-exclude-from-selection" for name, _ in attributes)
            self._open.append((tag, is_lyrics or named, is_dropped or tag in _DROPPED or excluded))

    def handle_endtag(self, tag: str) -> None:
        """End an element, and those inside that were left open."""
        if tag in _BREAKS and tag != "br":
            self._parts.append("\n\n" if tag in _STANZAS else "\v")
        names = [name for name, _, _ in self._open]
        if tag in names:
            del self._open[len(names) - 1 - names[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        """Add the text of the current element."""
        _, is_lyrics, is_dropped = self._open[-1] if self._open else ("", not self._only_lyrics, False)
        if not is_lyrics or is_dropped:
            return
        is_literal = any(each == "pre" for each, _, _ in self._open)
        after_break = not self._parts or self._parts[-1].endswith(("\n", "\v"))
        if not is_literal:
            data = data.replace("\n", " " if data.strip() and not after_break else "")
            data = re.sub(r"[ \t\r\f\xa0]+", " ", data)
        self._parts.append(data)

    def text(self) -> str:
        """All text so far; a block starts on a line of its own."""
        joined = re.sub(r"[ \t]*\v[\v \t]*", "\v", "".join(self._parts))
        joined = re.sub(r"\v*\n\v*", "\n", joined).replace("\v", "\n")
        return re.sub(r"\n{3,}", "\n\n", "\n".join(map(str.strip, joined.split("\n")))).strip("\n")
