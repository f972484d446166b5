"""A run on the hub: what each strategy uploads and when, in the background, and never at the cost of the run.

    Trainer()       makes the repository; a hub that refuses ends it here, before anything is computed
    on_save         every_save: the model, at the top of the repository
                    checkpoint, all_checkpoints: likewise, and the checkpoint beside it, to train on from
    save_model      all strategies: the model, with a model card; push_to_hub likewise
    end of train    waits for what is being uploaded, and says what is not on the hub

A save whose turn comes while the one before is still uploaded is passed over; the newest is made up for at the end.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.checkpoint.find import list_checkpoints
from lt_trainer.checkpoint.format import OPTIMIZER, SCALER, SCHEDULER, SIDE, TRAINER_STATE
from lt_trainer.checkpoint.saver import BEST
from lt_trainer.files import MANIFEST, Snapshot, make_folder, update_folder
from lt_trainer.hub import CARD, HubError, HubRepository
from lt_trainer.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from huggingface_hub import CommitInfo

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.state import TrainerState

logger = logging.getLogger(__name__)

FIRST_ANSWER_SECONDS = 30.0
"""How long the start of a run waits for the hub; training begins without it after that."""
LAST_UPLOAD_SECONDS = 1800.0
"""How long the end of a run waits for what is being uploaded."""
MAY_GROW_BYTES = 1 << 24
"""Files of the output folder below this are copied, since a log may be written into meanwhile; others are linked."""
ONLY_TO_GO_ON = {OPTIMIZER, SCHEDULER, SCALER, TRAINER_STATE, SIDE, MANIFEST}
MODEL = "the model"


class Uploads:
    """Runs jobs one after the other in a thread that ends with the last of them, and with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Runs a job after those before it."""
        future: Future[Any] = Future()
        with self._lock:
            self._jobs.append((future, job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
                self._thread.start()
        return future

    @property
    def is_idle(self) -> bool:
        """Whether every job has ended."""
        return self._thread is None

    def wait(self, seconds: float) -> bool:
        """Waits for all jobs; False where one still runs after so many seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return
                future, job = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)


class Publisher:
    """Uploads one run to its repository; process 0 has one.

    Args:
        args: of the run.
        token: in place of `args.hub_token`.
    """

    def __init__(self, args: TrainingArguments, token: str | None = None) -> None:
        self.args, self.folder = args, Path(str(args.output_dir))
        name = args.hub_model_id or self.folder.absolute().name
        self.repository = HubRepository(name, token or args.hub_token, args.hub_revision)
        self.uploads = Uploads()
        self.missing: dict[str, str] = {}
        """What is not on the hub as it should be -> why."""
        self._private = args.hub_private_repo
        self._passed_over: dict[Path, str] = {}  # checkpoint -> the message of its commit

    def begin(self, private: bool | None = None) -> str:
        """Makes the repository, and returns its name; waits for the hub no longer than FIRST_ANSWER_SECONDS.

        Raises:
            HubError: the hub refuses. Where it cannot be reached, the first upload tries again.
        """
        self._private = self.args.hub_private_repo if private is None else private
        making = self.uploads.submit(lambda: self.repository.create(self._private))
        try:
            return str(making.result(FIRST_ANSWER_SECONDS))
        except LateError:
            reason = f"no answer in {FIRST_ANSWER_SECONDS:.0f} s"
        except HubError as error:
            if error.is_refusal:
                raise
            reason = str(error)
        logger.warning("push_to_hub: %s. The run goes on; its first upload tries again", reason)
        return self.repository.name

    def push_checkpoint(self, checkpoint: Path, message: str) -> bool:
        """Uploads a save as the strategy says; False where the one before is still being uploaded."""
        if self.args.hub_strategy != "all_checkpoints":
            self._passed_over.clear()  # this one is newer
        if not (self.uploads.is_idle or self.args.hub_always_push):
            self._passed_over[checkpoint] = message
            return False
        self._submit_checkpoint(checkpoint, message)
        return True

    def push_folder(
        self, message: str, token: str | None = None, revision: str | None = None
    ) -> Future[CommitInfo | None]:
        """Uploads the output folder, its checkpoints left out."""
        other = token is not None or revision not in (None, self.repository.revision)
        repository = self.repository.at(token, revision) if other else self.repository
        self._passed_over.clear()
        return self.uploads.submit(lambda: self._upload(repository, Snapshot(self.folder), MODEL, message, whole=True))

    def finish(self) -> None:
        """The end of a run: uploads what was passed over, waits, and says what is not on the hub."""
        if not self.uploads.is_idle:
            logger.warning("waiting for uploads to %s; an interrupt leaves them", self.repository.name)
        try:
            ended = self.uploads.wait(LAST_UPLOAD_SECONDS) and self._make_up_for_passed_over()
            reason = None if ended else f"its upload had not ended {LAST_UPLOAD_SECONDS:.0f} s after the run"
        except KeyboardInterrupt:
            reason = "the wait for its upload was interrupted"
        if reason is not None:
            self.missing[MODEL] = reason
        for what, why in self.missing.items():
            logger.error("not on the hub: %s, since %s. It is in %s", what, why.rstrip("."), self.folder)

    def _make_up_for_passed_over(self) -> bool:
        """Uploads the newest save, or all where the strategy says so; False where that takes too long."""
        passed_over, self._passed_over = self._passed_over, {}
        for checkpoint, message in passed_over.items():
            if checkpoint.is_dir():
                self._submit_checkpoint(checkpoint, message)
            else:
                reason = "it was removed before its turn came: set hub_always_push, or a larger save_total_limit"
                self.missing[checkpoint.name] = reason
        return self.uploads.wait(LAST_UPLOAD_SECONDS)

    def _submit_checkpoint(self, checkpoint: Path, message: str) -> None:
        top = self._linked({path.name: path for path in _files(checkpoint, whole=False)})
        self.uploads.submit(lambda: self._upload(self.repository, top, MODEL, message, whole=True))
        if self.args.hub_strategy in ("checkpoint", "all_checkpoints"):
            place = "last-checkpoint" if self.args.hub_strategy == "checkpoint" else checkpoint.name
            files = {
                f"{place}/{path.relative_to(checkpoint).as_posix()}": path for path in _files(checkpoint, whole=True)
            }
            copy = self._linked(files)
            self.uploads.submit(lambda: self._upload(self.repository, copy, place, f"{message}, checkpoint"))

    def _linked(self, files: dict[str, Path]) -> Snapshot:
        """Made at once: the limit on checkpoints may remove the first names before their turn comes."""
        snapshot = Snapshot(self.folder)
        for name, path in files.items():
            snapshot.link_in(path, name)
        return snapshot

    def _upload(
        self, repository: HubRepository, snapshot: Snapshot, what: str, message: str, *, whole: bool = False
    ) -> CommitInfo | None:
        """One commit; with `whole`, of what else is in the output folder too. Never raises what the hub answers."""
        try:
            if whole:
                self._add_output_folder(snapshot)
            if not repository.is_made:
                repository.create(self._private)
            commit = repository.commit(snapshot.files, message)
        except OSError as error:  # HubError is one; a full disk is another
            self.missing[what] = str(error)
            logger.warning("%s (%s) could not be uploaded; the run goes on: %s", what, message, error)
            return None
        finally:
            snapshot.close()
        self.missing.pop(what, None)
        return commit

    def _add_output_folder(self, snapshot: Snapshot) -> None:
        for path in _output_files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            if name not in snapshot.files:
                small = path.stat().st_size < MAY_GROW_BYTES
                (snapshot.copy_in if small else snapshot.link_in)(path, name)


def _files(checkpoint: Path, *, whole: bool) -> list[Path]:
    """The files of a checkpoint; without `whole` those of its model and tokenizer alone."""
    if whole:
        return sorted(path for path in checkpoint.rglob("*") if path.is_file())
    state = (".pt", ".pth")
    files = (path for path in sorted(checkpoint.iterdir()) if path.is_file())
    return [path for path in files if path.name not in ONLY_TO_GO_ON and path.suffix not in state]


def _output_files(folder: Path) -> Iterator[Path]:
    """What of an output folder goes to the hub: no checkpoint, no second copy of weights, nothing hidden."""
    hidden = {path.name for path in list_checkpoints(folder)} | {BEST}
    for top in sorted(folder.iterdir()):
        if top.name not in hidden and not top.name.startswith(("_", ".", "checkpoint-")):
            yield from sorted(path for path in (top, *top.rglob("*")) if path.is_file() and not path.is_symlink())


class Published(Results):
    """The hub's part of the facade.

    Attributes:
        hub_model_id: full name of the repository, once it is made.
    """

    train_dataset: Any
    eval_dataset: Any
    hub_model_id: str | None = None
    _publisher: Publisher | None = None

    @property
    def unpublished(self) -> dict[str, str]:
        """What should be on the hub and is not -> why; empty where all is there, or nothing was asked for."""
        return {} if self._publisher is None else dict(self._publisher.missing)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes the repository of the run where it is not there; called by `Trainer` where `push_to_hub` is set.

        Args:
            token: in place of `args.hub_token`.
            private: in place of `args.hub_private_repo`; no effect on one that exists.

        Raises:
            HubError: the hub refuses; says what to do.
        """
        if self.is_world_process_zero():
            self._publisher = Publisher(self.args, token)
            self.hub_model_id = self._publisher.begin(private)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> CommitInfo | Future[CommitInfo | None] | None:
        """Saves the model, writes its card, and uploads the output folder without its checkpoints.

        Args:
            commit_message: of the commit.
            blocking: False uploads in the background.
            token: in place of `args.hub_token`.
            revision: branch, in place of `args.hub_revision`.
            private: whether a repository that is made is private.
            card: arguments of `create_model_card`.

        Returns:
            What the hub says of the commit; None where it could not be made: that was logged, `unpublished` has it,
            and the model is in the output folder. Without `blocking` a future of that. None on processes but the first.

        Raises:
            HubError: the repository is not there yet, and the hub refuses to make it; the model is saved by then.
        """
        self.fire("on_push_begin")
        self.save_model(_internal_call=True)
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        if not self.is_world_process_zero():
            return None
        assert self._publisher is not None
        name = card.pop("model_name", None) or (self.args.hub_model_id or "").rpartition("/")[2] or None
        self.create_model_card(model_name=name, **card)
        pushed = self._publisher.push_folder(commit_message or "End of training", token, revision)
        if blocking:
            return pushed.result()
        atexit.register(self._publisher.uploads.wait, LAST_UPLOAD_SECONDS)
        return pushed

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,  # the name that scripts write
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes README.md into the output folder: metrics, data, arguments, results by step, and versions.

        One that a person wrote, or has taken the comment out of, stays as it is.

        Args:
            language: of the texts, such as "en".
            license: such as "apache-2.0".
            tags: for the search on the hub; those that are in the card already stay.
            model_name: the headline; None: the output folder's name.
            finetuned_from: the model that was started from; None: its name, where it came from the hub.
            tasks: such as "text-classification"; None: of the model's head.
            dataset_tags: names on the hub; None: of a data set that came from there.
            dataset: names to print, in the order of `dataset_tags`.
            dataset_args: their configurations, in that order.
        """
        from lt_trainer.card import Card, data_of, is_own, named_data, tags_of

        if not self.is_world_process_zero():
            return
        path = Path(str(self.args.output_dir)) / CARD
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        if before is not None and not is_own(before):
            logger.warning("%s was written by a person and stays as it is", path)
            return
        card = Card.of(self, model_name or path.absolute().parent.name, finetuned_from, tasks)
        rows = self.train_dataset if self.eval_dataset is None else self.eval_dataset
        card.data = named_data(dataset_tags, dataset, dataset_args) or data_of(rows)
        card.language, card.license, card.tags = language, license, tags_of(tags, before)
        make_folder(path.parent)
        with update_folder(path.parent) as top:
            top.write_text(CARD, card.text())

    def push_saved(self, state: TrainerState) -> None:
        """Called where a checkpoint has become durable: uploads it as `hub_strategy` says."""
        if self._publisher is None or not self.args.push_to_hub or self.args.hub_strategy == "end":
            return
        by_steps = self.args.save_strategy == "steps"
        when = f"step {state.global_step}" if by_steps else f"epoch {int(state.epoch or 0)}"
        checkpoint = Path(str(self.args.output_dir)) / f"checkpoint-{state.global_step}"
        try:
            if self._publisher.push_checkpoint(checkpoint, f"Training in progress, {when}"):
                self.fire("on_push_begin")
        except OSError as error:  # no room for second names, or the folder has gone
            self._publisher.missing[checkpoint.name] = str(error)
            logger.warning("%s is not uploaded; the run goes on: %s", checkpoint, error)

    def finish_pushes(self) -> None:
        """The end of a run: see `Publisher.finish`."""
        if self._publisher is not None:
            self._publisher.finish()
            self.hub_model_id = self._publisher.repository.name
