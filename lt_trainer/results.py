"""Where a trainer's numbers and weights go: the log, files of metrics and state, a folder with the model."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lt_trainer.files import LineFile, read_json, update_folder
from lt_trainer.machine import global_rank, local_rank

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.engine import TrainingEngine
    from lt_trainer.state import TrainerState


METRICS = "metrics.jsonl"


class Results:
    """Logs, and writes what outlives the run; process 0 writes."""

    args: TrainingArguments
    state: TrainerState
    model: nn.Module
    processing_class: Any
    _engine: TrainingEngine | None
    train_began: tuple[float, int] = (0.0, 0)  # when, in seconds since 1970, and after how many input tokens

    beside: Mapping[str, float] = MappingProxyType({})  # of the log that is being written: what the peer does not have
    _lines: LineFile | None = None

    def fire(self, event: str, **details: Any) -> None:
        """Calls an event of every callback."""
        raise NotImplementedError(f"{type(self).__name__} has no fire(): derive it from Trainer")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds an entry to `state.log_history` and hands it to the callbacks (`on_log`).

        Args:
            logs: what to log; the epoch is added to it, and the input tokens seen where the arguments ask for them.
            start_time: changes nothing; overrides hand it on.
        """
        if self.state.epoch is not None:
            logs["epoch"] = self.state.epoch
        if self.args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen
        entry = {**logs, "step": self.state.global_step}
        self.state.log_history.append(entry)
        if self._lines is not None:
            self._lines.append({**entry, **self.beside})
        self.fire("on_log", logs=logs)

    def begin_lines(self) -> None:
        """Opens metrics.jsonl in `output_dir`: a line for each log of the run, also of that which it goes on from."""
        if self.is_world_process_zero():
            self._lines = LineFile(Path(str(self.args.output_dir)) / METRICS)
            self._lines.begin(self.state.log_history)

    def token_speed(self) -> dict[str, float]:
        """Run time in seconds and input tokens a second of this `train`, where tokens are counted; else nothing."""
        if self.args.include_num_input_tokens_seen == "no":
            return {}
        start, before = self.train_began
        runtime, tokens = time.time() - start, self.state.num_input_tokens_seen - before
        return {"train_runtime": round(runtime, 4), "train_tokens_per_second": round(tokens / runtime, 3)}

    def save_model(self, output_dir: str | Path | None = None, _internal_call: bool = False) -> None:
        """Writes a folder that `from_pretrained` loads, here and in `transformers`, with the tokenizer's files.

        An override is called for checkpoints too, on all processes: see `checkpoint.saver.files_written_by`.
        Where training is on and shards the weights, all processes call it together. With `push_to_hub` the output
        folder is uploaded then, as "Model save".

        Args:
            output_dir: another folder than the run's.
            _internal_call: True uploads nothing.
        """
        driver = None if self._engine is None else self._engine.module.driver
        with nullcontext() if driver is None else driver.whole(self.model):
            self._save(str(output_dir or self.args.output_dir))
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub("Model save", revision=self.args.hub_revision)

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """What `save_model` writes; scripts override it.

        Args:
            output_dir: another folder than the run's.
            state_dict: written in place of the model's weights, name -> tensor.
        """
        from lt_trainer.checkpoint.saver import save_model

        if self.is_world_process_zero():
            save_model(Path(output_dir or str(self.args.output_dir)), self.model, self.processing_class, state_dict)

    @property
    def saves_by_itself(self) -> bool:
        """Whether a subclass has its own way to write a model: checkpoints hold what that writes."""
        cls = type(self)
        return cls.save_model is not Results.save_model or cls._save is not Results._save

    def push_to_hub(self, commit_message: str | None = "End of training", **options: Any) -> Any:
        """Uploads the model: see `publish.Published`."""
        raise NotImplementedError(f"{type(self).__name__} has no push_to_hub(): derive it from Trainer")

    def log_metrics(self, split: str, metrics: Mapping[str, float]) -> None:
        """Prints metrics as a table, a line each, on the process that writes."""
        if self.is_world_process_zero():
            width = max(map(len, metrics), default=0)
            print(f"***** {split} metrics *****")
            shown = {n: f"{int(v) >> 20} MB" if "_mem_" in n else v for n, v in metrics.items()}
            print("\n".join(f"  {name:<{width}} = {shown[name]}" for name in sorted(shown)))

    def save_metrics(self, split: str, metrics: Mapping[str, float], combined: bool = True) -> None:
        """Writes `{split}_results.json` into `output_dir`, and with `combined` adds the metrics to all_results.json."""
        if not self.is_world_process_zero():
            return
        with update_folder(str(self.args.output_dir)) as top:
            top.write_json(f"{split}_results.json", dict(metrics))
            if combined:
                known = Path(str(self.args.output_dir)) / "all_results.json"
                before = read_json(known) if known.is_file() else {}
                top.write_json("all_results.json", {**before, **metrics})

    def save_state(self) -> None:
        """Writes trainer_state.json into `output_dir`: the log history and how far training is."""
        if self.is_world_process_zero():
            with update_folder(str(self.args.output_dir)) as top:
                top.write_text("trainer_state.json", self.state.to_json_string())

    def is_world_process_zero(self) -> bool:
        """Whether this is the process that writes."""
        return global_rank() == 0

    def is_local_process_zero(self) -> bool:
        """Whether this is the first process of its machine."""
        return local_rank() == 0
