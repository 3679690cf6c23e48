"""Repository: one on the Hub, whether this token may write it, and the Hub's refusals in words."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from medapp.errors import UserError
from training.evaluation.golden_pair import RefusedError

INITIAL_FILES = {".gitattributes", "README.md"}  # what a repository may hold that was just made on the web page


def check_repository(api: HfApi, repo: str, kind: str, private: bool, mark: str) -> bool:
    """Return whether the repository exists.

    `mark` is a file by which one of ours is known. Raises RefusedError if the token may not write it, or it holds
    something else.
    """
    if not get_token():
        raise RefusedError("There is no token: log in with `hf auth login`, or set HF_TOKEN to one that may write.")
    who, owner = api.whoami(), repo.partition("/")[0]
    names = [who["name"], *(each["name"] for each in who.get("orgs", []))]
    if "/" not in repo or owner not in names:
        raise RefusedError(f"{repo} is not yours: this token writes for {', '.join(names)}, as NAME/REPOSITORY.")
    if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise RefusedError("This token may only read: make one that may write, and set HF_TOKEN to it.")
    try:
        info = api.repo_info(repo, repo_type=kind)
    except RepositoryNotFoundError:
        return False
    files = {each.rfilename for each in getattr(info, "siblings", None) or []}
    if files - INITIAL_FILES and mark not in files:
        raise RefusedError(
            f"{repo} exists and holds something else ({min(files - INITIAL_FILES)}, no {mark}): choose another name."
        )
    if private and not info.private:
        raise RefusedError(f"{repo} exists and is public: make it private in its settings, or leave --private away.")
    return True


@contextmanager
def hub_errors_in_words(repo: str) -> Iterator[None]:
    """Raise RefusedError with one sentence, without addresses or tokens, for errors of the Hub's client."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise RefusedError(_describe_error(error, repo)) from error


def _describe_error(error: BaseException, repo: str) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HFValidationError):
        return f"{repo} is no name of a repository: it is USER/NAME, of letters, digits, '-', '_' and '.'."
    if "OfflineModeIsEnabled" in kinds:
        return "HF_HUB_OFFLINE forbids to ask the Hub: unset it."
    if kinds & {"RemoteEntryNotFoundError", "RevisionNotFoundError"}:
        return f"{repo} holds no golden pair at the revision that the card names: publish it first."
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return "The Hub does not know this token: log in again with `hf auth login`, or set HF_TOKEN."
    if status == 402:
        return f"The Hub wants to be paid before it makes {repo}."
    if status == 403:
        return f"The Hub does not let this token do that in {repo}: it needs the right to."
    if isinstance(error, RepositoryNotFoundError):
        return f"There is no repository {repo}, or this token may not see it."
    if status is not None:
        return f"The Hub answered {status} when asked for {repo}: try again later."
    if kinds & {"TransportError", "TimeoutException", "LocalEntryNotFoundError", "ConnectionError"}:
        return "The Hub cannot be reached: check the connection, and HF_ENDPOINT if it is set."
    if isinstance(error, ValueError) and "README.md" in str(error):
        return f"The Hub refuses the front matter of the model card: {' '.join(str(error).split())}"
    if isinstance(error, OSError) and error.strerror:
        return f"A file could not be read or written: {error.strerror}."
    if isinstance(error, RuntimeError):  # an upload of several files, or the client's part in Rust
        return (
            _describe_error(error.__cause__, repo)
            if error.__cause__
            else "The upload broke off: run the same command again."
        )
    raise error
