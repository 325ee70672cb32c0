"""Publish the folder of a model on the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever httpx this version uses

from lyrics_asr.models.hub import ModelNotFoundError

_UNFINISHED_CARD = "license: FILL IN"


def push_model(folder: Path, repository: str, *, private: bool = False) -> str:
    """Upload a model's folder as one commit; the repository is made if there is none.

    Args:
        folder: as `models export` and training write it.
        repository: `owner/name`.
        private: make a new repository private.

    Returns:
        The address of the commit.

    Raises:
        ModelNotFoundError: not the folder of a model.
        ValueError: the model card lacks its licence, the repository's name is not valid, or the hub refuses.
        ConnectionError: the hub cannot be reached.
    """
    if not (folder / "model.json").is_file():
        raise ModelNotFoundError(f"{folder}: not a model (model.json is missing); give the folder of a model")
    card = folder / "README.md"
    if card.is_file() and _UNFINISHED_CARD in card.read_text(encoding="utf-8"):
        raise ValueError(f"{card}: has no licence; replace FILL IN at its top, such as by `mit`, and push again")
    api = HfApi()
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)  # None: as the organization's default
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Upload a model of lyrics-asr",
            ignore_patterns=[".*"],
        )
    except HFValidationError as error:
        raise ValueError(f"{repository}: not the name of a repository; give OWNER/NAME") from error
    except OfflineModeIsEnabled as error:
        raise ConnectionError("HF_HUB_OFFLINE is set; unset it to push a model") from error
    except HfHubHTTPError as error:
        cause = str(error).splitlines()[0]
        raise ValueError(
            f"{repository}: the hub refuses ({cause}); log in with `hf auth login` or set HF_TOKEN to a token that may "
            "write there"
        ) from error
    except (OSError, httpx.HTTPError) as error:
        raise ConnectionError(f"the Hugging Face hub cannot be reached ({error}); check the network") from error
    return str(commit.commit_url)
