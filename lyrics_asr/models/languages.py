"""Languages of multilingual acoustic models, such as MMS: from the code that a user gives to that of an adapter."""

from collections.abc import Sequence

from lyrics_asr.lyrics.languages import base_code


def adapter_of(language: str, adapters: Sequence[str]) -> str:
    """The adapter of a language.

    Args:
        language: code of an adapter, or whatever `base_code` takes: "de", "deu", "de-AT", "German".
        adapters: ISO 639-3 codes, some with a script, such as "azj-script_latin".

    Raises:
        ValueError: there is no adapter of this language, or several; the message lists them.
    """
    if language in adapters:
        return language
    found = [adapter for adapter in adapters if base_code(adapter) == base_code(language)]
    if not found:
        raise ValueError(f"no language {language!r}; it has {', '.join(adapters)}")
    if len(found) > 1:
        raise ValueError(f"language {language!r} has several adapters; choose one of {', '.join(found)}")
    return found[0]
