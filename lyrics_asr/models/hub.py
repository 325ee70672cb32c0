"""Where published weights are found: the Hugging Face hub and its cache."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever httpx this version uses

PUBLISHED_REPOSITORY = "adefossez/HTDemucs"  # of the pair that `lyrics-asr models download` fetches


_HUB_TIMEOUT_SECONDS = 4.0  # without a network, loading must fail within 10 s, imports included


class ModelNotFoundError(FileNotFoundError):
    """A model's weights are neither on this computer nor within reach."""


def hub_snapshot(
    repository: str,
    revision: str | None,
    *downloads: Sequence[str],
    complete: Callable[[Path], bool],
    published: bool = False,
) -> Path:
    """Folder of a Hugging Face repository's files, from the cache where it is complete, else downloaded.

    Args:
        repository: its name, `owner/name`.
        revision: commit, tag or branch; the head when None.
        downloads: sets of file patterns, fetched one after the other until `complete` is true of the folder.
        complete: whether a folder has all that is needed.
        published: whether `lyrics-asr models download` fetches this, and is thus the remedy when it is missing.

    Raises:
        ModelNotFoundError: neither the cache nor the hub has what is needed.
    """
    cause: Exception | None = None
    with contextlib.suppress(OSError):
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if complete(folder):
            return folder
    try:
        if downloads and not constants.HF_HUB_OFFLINE:
            # Asked first because it asks but once: a download would go on trying for half a minute without a network.
            probe_hub(lambda: HfApi().model_info(repository, revision=revision, timeout=_HUB_TIMEOUT_SECONDS))
            for patterns in downloads:
                folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
                if complete(folder):
                    return folder
    except (OSError, httpx.HTTPError) as error:
        cause = error
    raise not_found(f"{repository} (Hugging Face)", cause, published) from cause


def probe_hub(ask: Callable[[], object]) -> None:
    """Ask a server, for `_HUB_TIMEOUT_SECONDS` in all.

    A timeout of the request itself starts anew with each address and each piece of the answer, and does not hold for
    the name lookup; so the asking goes on beside us, and is left to itself when the time is up.

    Raises:
        TimeoutError: no answer in time; any error of `ask` comes as it is.
    """
    answer: futures.Future[object] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # handed to whoever waits for the answer
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not futures.wait([answer], timeout=_HUB_TIMEOUT_SECONDS).done:
        raise TimeoutError(f"no answer within {_HUB_TIMEOUT_SECONDS:g} s")
    answer.result()


def not_found(what: str, cause: Exception | None, published: bool = False) -> ModelNotFoundError:
    """The error for weights that cannot be had, with the cause and the remedy."""
    reason = "files are missing there"
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
    elif cause is not None:
        reason = " ".join([f"{type(cause).__name__}:", *str(cause).splitlines()[:1]])
    remedy = "Check the name, and run the same command once while online; or give a folder that holds the weights."
    if published:
        remedy = "Run `lyrics-asr models download` while online, or choose `--model embedded`, which needs no download."
    return ModelNotFoundError(
        f"{what}: the weights are not on this computer and could not be downloaded ({reason}). {remedy}"
    )
