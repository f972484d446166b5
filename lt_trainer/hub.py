"""To the hub: a repository, and files into it as one commit. A refusal is one message that says what to do.

No token leaves this file but to the hub: messages are searched for it, and errors of the client, whose frames hold
headers, are not chained to those that are raised.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from huggingface_hub import CommitInfo, HfApi

    T = TypeVar("T")

WAITS = (1.0, 4.0, 16.0)
"""Seconds before each further try. The client has by then repeated a request that failed for about 20 seconds."""
PASSING = {408, 409, 412, 425, 429, 500, 502, 503, 504}  # answers that may be another one the next time
CARD = "README.md"

REMEDIES = {
    401: "sign in with `hf auth login`, or set HF_TOKEN or hub_token to a valid token",
    402: "the plan of the account does not have this: change it, or set hub_private_repo=False",
    403: "make a token that may write at https://huggingface.co/settings/tokens, or name a repository of your own: "
    "hub_model_id='your-name/model'",
    404: "correct hub_model_id or hub_revision; a private repository is not there for a token that may not read it",
    409: "another commit came in between: push again",
    412: "another commit came in between: push again",
    413: "a file is too large for the hub: save in smaller shards",
    429: "the hub was asked too often: push again later",
}


class HubError(OSError):
    """The hub did not take it: what was tried, what it answered, what to do.

    Attributes:
        is_refusal: the hub itself said no, and will again until something changes; False: it could not be reached.
        is_passing: the same may succeed later.
    """

    def __init__(self, message: str, *, is_refusal: bool, is_passing: bool) -> None:
        super().__init__(message)
        self.is_refusal, self.is_passing = is_refusal, is_passing


class HubRepository:
    """One repository of models.

    Args:
        name: "name" or "owner/name"; `create` fills in the owner.
        token: None takes HF_TOKEN, or the one that is logged in.
        revision: branch, or refs/pr/<number>; the main branch if None.
    """

    def __init__(self, name: str, token: str | bool | None = None, revision: str | None = None) -> None:
        self.name, self.revision = name, revision
        self.is_made = False
        self._token = token

    def at(self, token: str | bool | None, revision: str | None) -> HubRepository:
        """The same repository, with another token or branch where one is given."""
        return HubRepository(self.name, self._token if token is None else token, revision or self.revision)

    def create(self, private: bool | None = None) -> str:
        """Makes the repository and its branch where they are not there; returns its full name.

        Args:
            private: None: as the owner's default is. No effect on one that exists.

        Raises:
            HubError: the hub refuses, or cannot be reached after several tries.
        """
        self.name = self._ask(
            "create it", lambda api: api.create_repo(self.name, private=private, exist_ok=True).repo_id
        )
        if self.revision is not None and not self.revision.startswith("refs/"):
            branch = self.revision
            self._ask(
                f"make the branch {branch}", lambda api: api.create_branch(self.name, branch=branch, exist_ok=True)
            )
        self.is_made = True
        return self.name

    def commit(
        self,
        files: Mapping[str, Path],
        message: str,
        *,
        description: str | None = None,
        create_pr: bool = False,
        shows_progress: bool = False,
    ) -> CommitInfo:
        """Uploads files as one commit: all of them are there, or none.

        Args:
            files: path in the repository -> where it is read; nobody may change it meanwhile.
            message: of the commit.
            description: of the commit, below the message.
            create_pr: as a pull request.
            shows_progress: the client's bars, for one who waits.

        Raises:
            HubError: the hub refuses, or cannot be reached after several tries.
        """
        from huggingface_hub import CommitOperationAdd

        def send(api: HfApi) -> CommitInfo:
            additions = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
            return api.create_commit(
                self.name,
                additions,
                commit_message=message,
                commit_description=description,
                revision=self.revision,
                create_pr=create_pr,
            )

        with contextlib.nullcontext() if shows_progress else _no_bars():
            return self._ask(f"upload {len(files)} files", send)

    def card(self) -> str | None:
        """The text of its README.md; None without one."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        def read(api: HfApi) -> str | None:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    path = api.hf_hub_download(self.name, CARD, revision=self.revision, local_dir=folder)
                except RemoteEntryNotFoundError:  # a hub that cannot be reached is another matter
                    return None
                return Path(path).read_text(encoding="utf-8")

        return self._ask("read its README.md", read)

    def _ask(self, what: str, request: Callable[[HfApi], T]) -> T:
        """Tries until it succeeds, or nothing but a change would help."""
        for wait in (*WAITS, None):
            answer = self._try(what, request)
            if not isinstance(answer, HubError):
                return answer
            if wait is None or not answer.is_passing:
                raise answer
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _try(self, what: str, request: Callable[[HfApi], T]) -> T | HubError:
        """What came of it. An error is returned: raised here, it would be chained to frames that hold the token."""
        from huggingface_hub import HfApi, get_token

        try:
            return request(HfApi(token=self._token))
        except Exception as error:  # the client and its HTTP library raise kinds with no common base
            token = self._token if isinstance(self._token, str) else get_token()
            return _explained(error, f"the hub did not {what} ({self.name})", token)


def _explained(error: Exception, what: str, token: str | None) -> HubError:
    """One message of whatever the client raised, without the token."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    causes = [error]
    while isinstance(cause := causes[-1].__cause__ or causes[-1].__context__, Exception) and cause not in causes:
        causes.append(cause)
    answered = next((cause for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if answered is not None:
        status = answered.response.status_code
        reason = (answered.server_message or str(answered).strip().splitlines()[0])[:300]
        remedy = REMEDIES.get(status, "push again later" if status in PASSING else "see what the hub says")
        text, refusal, passing = f"{status}, {reason}", status < 500, status in PASSING
    elif any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        text, remedy, refusal, passing = "HF_HUB_OFFLINE is set", "unset it, then push again", False, False
    elif any(isinstance(cause, HFValidationError) for cause in causes):
        text, refusal, passing = str(error), True, False
        remedy = "hub_model_id: expected 'name' or 'owner/name' of letters, digits, '-', '_' and '.'"
    elif isinstance(error, ValueError):  # the metadata of README.md, or an answer that is none
        text, remedy, refusal, passing = str(error), "correct what it names, then push again", False, False
    else:
        text, remedy = (
            f"{type(causes[-1]).__name__}: {causes[-1]}",
            "check the network and HF_ENDPOINT, then push again",
        )
        refusal, passing = False, True
    message = " ".join(f"{what}: {text.strip().rstrip('.')}; {remedy}".split())
    return HubError(message.replace(token, "***") if token else message, is_refusal=refusal, is_passing=passing)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """The client's progress bars would be drawn into the one of training."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


class Pushable:
    """Gives `push_to_hub` to what has `save_pretrained`."""

    kind: ClassVar[str] = "model"

    def save_pretrained(self, folder: Path) -> Any:
        """Writes files into a folder."""
        raise NotImplementedError(f"{type(self).__name__} has push_to_hub and no save_pretrained: write it")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        tags: list[str] | None = None,
    ) -> CommitInfo:
        """Uploads what `save_pretrained` writes to a repository of the hub, as one commit.

        Args:
            repo_id: "name" or "owner/name"; made where it is not there.
            commit_message: "Upload model" (or tokenizer) if None.
            commit_description: below the message.
            private: whether a repository that is made is private; None: as the owner's default is.
            token: None takes HF_TOKEN, or the one that is logged in.
            revision: branch, made where it is not there.
            create_pr: as a pull request.
            tags: for its README.md, which is made where there is none.

        Raises:
            HubError: the hub refuses, or cannot be reached after several tries; says what to do.
        """
        repository = HubRepository(repo_id, token, revision)
        repository.create(private)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.save_pretrained(folder)
            files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
            if (card := tagged_card(repository.card(), repository.name, tags)) is not None:
                files[CARD] = folder / CARD
                files[CARD].write_text(card, encoding="utf-8")
            message = commit_message or f"Upload {self.kind}"
            return repository.commit(
                files, message, description=commit_description, create_pr=create_pr, shows_progress=True
            )


def tagged_card(before: str | None, name: str, tags: Sequence[str] | None) -> str | None:
    """A model card with the tags; None where the one there is has them all."""
    from huggingface_hub import ModelCard

    card = ModelCard(before or f"---\nlibrary_name: transformers\n---\n\n# {name.rpartition('/')[2]}\n")
    known = list(card.data.get("tags") or [])
    new = [tag for tag in tags or () if tag not in known]
    if before is not None and not new:
        return None
    if new:
        card.data["tags"] = known + new
    return str(card)
