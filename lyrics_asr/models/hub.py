"""Published weights: download from the Hugging Face hub, or read from its cache.

Conventions
- The cache is used without any request if it has all files.
- Without a network, and with HF_HUB_OFFLINE set, missing weights are reported within seconds, not after retries.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

HUB_TIMEOUT_SECONDS = 4.0  # without a network, loading must fail within 10 s, imports included


class ModelNotFoundError(FileNotFoundError):
    """A model's weights are not on this computer and cannot be downloaded."""


def hub_snapshot(
    repository: str,
    revision: str | None,
    *downloads: Sequence[str],
    complete: Callable[[Path], bool],
    published: bool = False,
) -> Path:
    """Return the local folder of a Hugging Face repository; download it if the cache is incomplete.

    Args:
        repository: `owner/name`.
        revision: commit, tag or branch; the default branch when None.
        downloads: sets of file patterns, downloaded one after the other until the folder is complete.
        complete: whether a folder has all files that are needed.
        published: whether `lyrics-asr models download` fetches this repository; the error message then suggests it.

    Raises:
        ModelNotFoundError: neither the cache nor the hub has the files.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever httpx this version uses

    cause: Exception | None = None
    with contextlib.suppress(OSError):
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if complete(folder):
            return folder
    try:
        if downloads and not constants.HF_HUB_OFFLINE:
            # A single request first: without a network, a download would retry for half a minute.
            probe_hub(lambda: HfApi().model_info(repository, revision=revision, timeout=HUB_TIMEOUT_SECONDS))
            for patterns in downloads:
                folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
                if complete(folder):
                    return folder
    except (OSError, httpx.HTTPError) as error:
        cause = error
    raise not_found(f"{repository} (Hugging Face)", cause, published) from cause


def probe_hub(request: Callable[[], object]) -> None:
    """Send a request, with a total timeout of `HUB_TIMEOUT_SECONDS`.

    The timeout of an HTTP client restarts with each address and each chunk of the response, and does not cover the name
    lookup. So the request runs in a thread, which is abandoned when the time is up.

    Raises:
        TimeoutError: no response in time. Errors of `request` are passed on.
    """
    answer: futures.Future[object] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(request())
        except Exception as error:  # raised again by answer.result()
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not futures.wait([answer], timeout=HUB_TIMEOUT_SECONDS).done:
        raise TimeoutError(f"no answer within {HUB_TIMEOUT_SECONDS:g} s")
    answer.result()


def not_found(what: str, cause: Exception | None, published: bool = False) -> ModelNotFoundError:
    """The error for missing weights, with cause and remedy."""
    from huggingface_hub import constants

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
