"""The encoding of lyrics files that are not plain UTF-8.

Conventions
- A byte order mark is believed. UTF-16 without one is recognized by its zero bytes.
- A file with more characters in UTF-8 than bytes that do not fit is damaged UTF-8: bad bytes are read as Windows-1252.
- Everything else is guessed with chardet, from the lines that are not ASCII. Where single bytes above 0xBF stand
  between ASCII letters, the alphabet is Latin; short texts in it look alike in many encodings, so that an unsure guess
  becomes Windows-1252.
"""

import codecs
import re
from contextlib import suppress
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LATIN = ("windows-1252", "windows-1250", "iso-8859-2", "windows-1254", "windows-1257")
_CYRILLIC = ("windows-1251", "koi8-r", "koi8-u", "iso-8859-5", "cp866")
_OTHERS = ("windows-1253", "windows-1255", "windows-1256", "windows-1258", "windows-874")
_EAST_ASIAN = ("cp932", "euc_jis_2004", "cp949", "gb18030", "big5hkscs")
_NOT_LATIN = re.compile(rb"[\x81-\x84\x86-\x89\x8b\x8d\x8f\x90\x98\x99\x9b\x9d\x9f]")
_MIN_ISOLATED = 0.6
_MIN_CONFIDENCE = 0.09
_HINT = "--encoding names another encoding"


@dataclass(frozen=True)
class DecodedText:
    """A text, and what was guessed or repaired; None if nothing was."""

    text: str
    note: str | None = None


def decode(data: bytes, encoding: str | None = None) -> DecodedText:
    """Decode a text.

    Args:
        data: content of a file.
        encoding: encoding to use instead of a guess.

    Raises:
        ValueError: the data are no text, or do not fit the encoding, or the encoding is unknown.
    """
    if encoding is not None:
        return DecodedText(_decode_as(data, encoding))
    for mark, name in _MARKS:
        if data.startswith(mark):
            return DecodedText(data.decode(name, "replace"))
    if b"\0" in data:
        return _decode_utf16(data)
    return _repair_utf8(data) or _guess(data)


def _decode_as(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise ValueError(
            f"unknown encoding {encoding!r}; use utf-8, utf-16, windows-1252, windows-1251, shift_jis or another one "
            "of Python's"
        ) from error
    except UnicodeError as error:
        raise ValueError(f"is not {encoding} ({error}); leave out --encoding to guess it") from error


def _decode_utf16(data: bytes) -> DecodedText:
    """UTF-16 without a byte order mark, whose ASCII characters have a zero byte each."""
    zeros = {position % 2 for position, byte in enumerate(data) if byte == 0}
    if len(zeros) == 1 and len(data) % 2 == 0:
        name = "utf-16-le" if zeros == {1} else "utf-16-be"
        with suppress(UnicodeDecodeError):
            return DecodedText(data.decode(name), f"read as {name.upper()} (guessed; {_HINT})")
    raise ValueError("is not a text file; save the lyrics as plain text in UTF-8")


def _repair_utf8(data: bytes) -> DecodedText | None:
    """Nearly valid UTF-8; None if too much of it is not."""
    repaired = data.decode("utf-8", "surrogateescape")
    bad = [position for position, character in enumerate(repaired) if "\udc80" <= character <= "\udcff"]
    good = sum(character > "\x7f" for character in repaired) - len(bad)
    if good < len(bad):
        return None
    line = repaired.count("\n", 0, bad[0]) + 1
    text = re.sub(
        "[\udc80-\udcff]", lambda match: bytes([ord(match[0]) - 0xDC00]).decode("cp1252", "replace"), repaired
    )
    return DecodedText(
        text, f"line {line}: {len(bad)} bad byte{'s' * (len(bad) > 1)} in UTF-8, read as {text[bad[0]]!r} ({_HINT})"
    )


def _guess(data: bytes) -> DecodedText:
    import chardet

    lines = b"\n".join(line for line in data.splitlines() if not line.isascii())
    letters = len(re.findall(rb"[\xc0-\xff]", lines))
    isolated = len(re.findall(rb"(?<![\xc0-\xff])[\xc0-\xff](?![\xc0-\xff])", lines))
    symbols = len(re.findall(rb"[\xa2-\xa8\xaa\xac-\xaf\xb1-\xba\xbc-\xbe]", lines))
    is_latin = not _NOT_LATIN.search(lines) and isolated >= max(symbols, _MIN_ISOLATED * letters)
    # The superset of ISO-8859-5 would be Windows-1251 to chardet, which has other letters at those bytes.
    found = chardet.detect(
        lines,
        encoding_era=chardet.EncodingEra.ALL,
        prefer_superset=False,
        include_encodings=_LATIN if is_latin else _LATIN + _CYRILLIC + _OTHERS + _EAST_ASIAN,
    )
    is_sure = not is_latin or found["confidence"] >= _MIN_CONFIDENCE
    name = (found["encoding"] or "") if is_sure else "Windows-1252"
    for candidate in (name, "Windows-1252", "Latin-1"):
        try:
            return DecodedText(data.decode(candidate), f"read as {candidate} (guessed; {_HINT})")
        except (UnicodeDecodeError, LookupError):
            continue
    raise AssertionError("Latin-1 reads everything")
