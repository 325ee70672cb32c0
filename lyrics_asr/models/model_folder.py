"""The folder that a model is saved in.

Files and folders in it:

    model.json                  {"schema": "lyrics-asr/model/1", "separator", "transcriber", "acoustic_input"};
                                "separator" is null if the folder below is used, else a name that `load_separator`
                                takes, such as "none" or "htdemucs"; "transcriber", if it is there, a name that
                                `load_transcriber` takes; "acoustic_input" "vocals" (the default) or "mixture"
    separator/                  a folder that `load_separator` takes
    acoustic/                   a Hugging Face `save_pretrained` folder
    transcriber/                optional attention model, see `load_transcriber`
    language_model.arpa[.gz]    optional KenLM model, or language_model.bin
    decoder.yaml                optional `DecodingOptions`, tuned for this model
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lyrics_asr.files import OutputError, require_writable_folder
from lyrics_asr.language_model.files import LANGUAGE_MODEL_SUFFIXES

SCHEMA = "lyrics-asr/model/1"
LANGUAGE_MODEL_FILES = tuple(map("language_model{}".format, LANGUAGE_MODEL_SUFFIXES))
MODEL_FILES = ("model.json", "separator", "acoustic", "transcriber", "decoder.yaml", *LANGUAGE_MODEL_FILES)


@contextmanager
def replacing_model(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block succeeds.

    If the block fails or is interrupted, `folder` is unchanged. Files in it that are not part of a model are kept.
    """
    require_writable_folder(folder.parent)
    if folder.exists():
        require_writable_folder(folder)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = scratch / "new", scratch / "old"
    try:
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error}; free some space, or choose another folder") from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for path in list(old.iterdir()) if old.exists() else []:
            if path.name not in MODEL_FILES:
                path.rename(folder / path.name)
        shutil.rmtree(scratch, ignore_errors=True)


def language_model_suffix(path: Path) -> str:
    """The suffix of a language model file, ".arpa.gz" included.

    Raises:
        ValueError: not a language model's suffix.
    """
    for suffix in LANGUAGE_MODEL_SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise ValueError(f"{path}: not a language model; its name must end in one of {', '.join(LANGUAGE_MODEL_SUFFIXES)}")
