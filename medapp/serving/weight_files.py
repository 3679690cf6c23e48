"""Find weights beside the app, in the Hugging Face cache or on the Hub, and verify them by the card's sha256.

Environment: MEDAPP_WEIGHTS is the folder beside the app (default `weights/` next to the package). MEDAPP_REPO names
another Hub repository for all of our weights, MEDAPP_REPO_<FILE STEM IN CAPITALS> for one file, for example
MEDAPP_REPO_SEGMENT_GLIOMA_AR2UNET. HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and HF_TOKEN are the Hub's own.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from medapp.card import Weights
from medapp.errors import WeightsError

SECONDS_TO_ANSWER = 10  # after which the Hub counts as unreachable


class LocatedWeights(NamedTuple):
    """A weights file whose sha256 has been verified, and where it came from, in words."""

    path: Path
    sha256: str
    source: str


def locate_weights(weights: Weights) -> LocatedWeights:
    """Return the file that the card names, from the nearest place that has it; raises WeightsError with what to do."""
    if not weights.file.endswith(".safetensors") and not weights.third_party:
        raise WeightsError(f"{weights.file} is not a .safetensors file; no other kind is read.")
    file = find_weights_folder() / Path(weights.file).name
    if file.is_file() and _compute_sha256(file) == weights.sha256:
        return LocatedWeights(file, weights.sha256, "beside the app")
    repo = _select_repo(weights)
    place = f"{repo}@{weights.revision}"
    cached = _find_cached(weights, repo)
    if cached and _compute_sha256(cached) == weights.sha256:
        return LocatedWeights(cached, weights.sha256, f"Hugging Face cache {place}")
    remark = f" The {weights.file} beside the app is another file than the card names." if file.is_file() else ""
    try:
        return LocatedWeights(_download(weights, repo), weights.sha256, f"Hugging Face Hub {place}")
    except WeightsError:
        raise
    except (
        Exception
    ) as error:  # the Hub's errors come from four libraries; their messages may contain addresses and tokens
        raise WeightsError(_explain_failure(error, weights.file, place) + remark) from error


def find_weights_folder() -> Path:
    """Return the folder of weights beside the app."""
    return Path(os.environ.get("MEDAPP_WEIGHTS") or Path(__file__).parents[2] / "weights")


def name_repo_variable(weights: Weights) -> str:
    """Return the environment variable that names another repository for these weights."""
    return f"MEDAPP_REPO_{Path(weights.file).stem.upper().replace('-', '_')}"


def _select_repo(weights: Weights) -> str:
    ours = None if weights.third_party else os.environ.get("MEDAPP_REPO")
    return os.environ.get(name_repo_variable(weights)) or ours or weights.repo


def _find_cached(weights: Weights, repo: str) -> Path | None:
    """The file in the Hugging Face cache, not yet verified; no request is made."""
    from huggingface_hub import try_to_load_from_cache  # here, since it is slow to import and seldom needed

    file = try_to_load_from_cache(repo, weights.file, revision=weights.revision)
    return Path(file) if isinstance(file, str) else None


def _download(weights: Weights, repo: str) -> Path:
    """The file from the Hub, resumed after a broken connection; one with a wrong sha256 is downloaded once more."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import OfflineModeIsEnabled

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise OfflineModeIsEnabled
    endpoint = os.environ.get("HF_ENDPOINT") or None
    address = hf_hub_url(repo, weights.file, revision=weights.revision, endpoint=endpoint)
    get_hf_file_metadata(address, timeout=SECONDS_TO_ANSWER, endpoint=endpoint)  # fails at once; a download retries
    for _ in range(2):
        path = Path(hf_hub_download(repo, weights.file, revision=weights.revision, endpoint=endpoint))
        if _compute_sha256(path) == weights.sha256:
            return path
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    raise WeightsError(
        f"{weights.file} from {repo}@{weights.revision} does not have the sha256 that the card names, in two "
        "downloads, and was removed. The card and the repository do not match, or the download is altered on its way."
    )


def _explain_failure(error: Exception, file: str, place: str) -> str:
    """A sentence or two on why `file` could not be fetched from `place` (repository@revision), and what helps."""
    beside = f"or put {Path(file).name} into the weights folder beside the app"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "OfflineModeIsEnabled" in kinds:
        return f"{file} is not on this computer and HF_HUB_OFFLINE forbids fetching it: unset it once, {beside}."
    if "GatedRepoError" in kinds or status in (401, 403):
        return (
            f"The Hub does not let this computer read {file} in {place}: the repository is private or gated, or there "
            f"is none of that name. Log in with `hf auth login` or set HF_TOKEN, {beside}."
        )
    if status == 404:
        causes = {"EntryNotFoundError": "file", "RevisionNotFoundError": "revision"}
        missing = next((cause for kind, cause in causes.items() if kind in kinds), "repository")
        return f"{place} on the Hub has no {file}: there is no such {missing} (404). Set MEDAPP_REPO, {beside}."
    if status is not None:
        return f"The Hub answered {status} when asked for {file} of {place}. Try again later, {beside}."
    if any("Timeout" in kind for kind in kinds):
        return f"The Hub did not answer in time when asked for {file} of {place}. Try again later, {beside}."
    if "ConnectError" in kinds or "LocalEntryNotFoundError" in kinds or "ProxyError" in kinds:
        return f"{file} is not on this computer and the Hub cannot be reached: check the connection, {beside}."
    if "TransportError" in kinds or "Consistency" in str(error):
        return f"The connection failed repeatedly while {file} of {place} was fetched. Try again, {beside}."
    if isinstance(error, OSError) and error.strerror:
        reason = f"{file} could not be stored in the Hugging Face cache: {error.strerror}."
        return f"{reason} Set HF_HOME to another folder, {beside}."
    return f"{file} could not be fetched from {place} ({type(error).__name__}). Try again, {beside}."


def _compute_sha256(path: Path) -> str:
    status = path.stat()
    return hash_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def hash_file(path: Path, size: int, changed: int) -> str:
    """Return the file's sha256; its size and time of change are arguments so that a changed file is hashed again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
