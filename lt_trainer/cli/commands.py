"""fit, validate, test, predict and search for a task and its data, through `lt_trainer.Trainer`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lt_trainer.callbacks.base import TrainerCallback
from lt_trainer.files import ensure_writable, update_folder
from lt_trainer.seeds import set_seed
from lt_trainer.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.datamodule import TaskData
    from lt_trainer.search_options import SearchOptions
    from lt_trainer.state import TrainerControl, TrainerState
    from lt_trainer.tasks.base import Task


class Commands:
    """The commands that LightningCLI calls; it takes this for its Trainer.

    Args:
        args: of the run.
        lightning_flags: raw flags of `lightning.Trainer`.
        config: the configuration in YAML, saved with the run.
        model_name: as the user knows it.
        search: what a search is asked for.
        make_task: makes another task with a new model, for each trial of a search.
        config_of: arguments -> the configuration in YAML that fits with them.
        stdout: where results go. While something runs, standard output goes to standard error, so that
            `lt-trainer predict > file` holds predictions alone.
    """

    def __init__(
        self,
        args: TrainingArguments,
        lightning_flags: Mapping[str, Any],
        *,
        config: str = "",
        model_name: str = "",
        search: SearchOptions | None = None,
        make_task: Callable[[], Task] | None = None,
        config_of: Callable[[Mapping[str, Any]], str] | None = None,
        stdout: TextIO | None = None,
    ) -> None:
        self.args, self.lightning_flags = args, dict(lightning_flags)
        self.config, self.model_name = config, model_name
        self.options, self.make_task, self.config_of = search, make_task, config_of
        self.stdout = sys.stdout if stdout is None else stdout

    def fit(self, model: Task, datamodule: TaskData) -> None:
        """Trains, evaluates where there are validation rows, saves model and configuration in output_dir."""
        ensure_writable(Path(self.args.output_dir or ""))
        datamodule.setup("fit")
        print(*datamodule.reports.values(), sep="\n", file=sys.stderr)
        trainer = self._trainer(model, datamodule, SaveConfig(self.config))
        metrics = dict(trainer.train().metrics)
        if datamodule.eval_dataset is not None:
            metrics |= trainer.evaluate()
        trainer.save_model()
        if trainer.is_world_process_zero():
            with update_folder(self.args.output_dir or "") as top:
                top.write_json("all_results.json", metrics)
            self._print(metrics, f"trained; the model and its configuration are in {self.args.output_dir}")

    def validate(self, model: Task, datamodule: TaskData) -> None:
        """Loss and metrics on the validation rows."""
        self._evaluate(model, datamodule, "validation", "eval")

    def test(self, model: Task, datamodule: TaskData) -> None:
        """Loss and metrics on the test rows."""
        self._evaluate(model, datamodule, "test", "test")

    def predict(self, model: Task, datamodule: TaskData, output: str | None = None) -> None:
        """Writes what the task makes of each test row, or where there are none of each validation row, numbered from 0.

        Args:
            model: a trained one.
            datamodule: with the rows.
            output: file for the JSON lines; None: standard output.
        """
        model.prepare_data_module(datamodule)
        with redirect_stdout(sys.stderr):
            datamodule.setup("predict")
            rows = datamodule.test_dataset if datamodule.test_dataset is not None else datamodule.eval_dataset
            trainer = self._trainer(model, datamodule)
            predictions = trainer.predict(rows).predictions
        if not trainer.is_world_process_zero():
            return
        records = [{"row": number} | record for number, record in enumerate(model.records(predictions, rows))]
        lines = [f"{json.dumps(record, ensure_ascii=False)}\n" for record in records]
        if output is None:
            self.stdout.writelines(lines)
            return
        with update_folder(Path(output).absolute().parent) as folder:
            folder.write_text(Path(output).name, "".join(lines))
        print(f"{len(lines)} predictions are in {output}", file=self.stdout)

    def search(self, model: Task, datamodule: TaskData) -> None:
        """Trains with other arguments, a trial after another; the best run's configuration stands beside its model."""
        from lt_trainer.cli import trials

        options, config_of = self.options, self.config_of
        assert options is not None
        assert config_of is not None
        ensure_writable(Path(self.args.output_dir or ""))
        with redirect_stdout(sys.stderr):
            datamodule.setup("fit")
            print(*datamodule.reports.values(), sep="\n")
            trainer = self._trainer(model, datamodule)
            trainer.model_init = self._new_model(trainer)
            best, folder = trials.search(trainer, options, self.stdout)
        if trainer.is_world_process_zero():
            with update_folder(folder) as files:
                files.write_text("config.yaml", config_of({**best.hyperparameters, "output_dir": str(folder)}))
            trials.tell(best, folder, options.goal(self.args), self.stdout)

    def _new_model(self, trainer: Trainer) -> Callable[[], nn.Module]:
        make_task = self.make_task
        assert make_task is not None

        def model_init() -> nn.Module:
            model = make_task().model
            set_seed(trainer.args.seed)  # as in `fit`: what weights were drawn with changes nothing afterwards
            return model

        return model_init

    def _evaluate(self, model: Task, datamodule: TaskData, split: str, prefix: str) -> None:
        model.prepare_data_module(datamodule)
        with redirect_stdout(sys.stderr):
            datamodule.setup("validate" if split == "validation" else "test")
            rows = datamodule.eval_dataset if split == "validation" else datamodule.test_dataset
            trainer = self._trainer(model, datamodule)
            metrics = trainer.evaluate(rows, metric_key_prefix=prefix)
        if trainer.is_world_process_zero():
            self._print(metrics, f"{len(rows)} {split} rows, model {self.model_name}")

    def _trainer(self, model: Task, datamodule: TaskData, *callbacks: TrainerCallback) -> Trainer:
        return Trainer(
            args=self.args,
            task=model,
            data=datamodule,
            compute_metrics=model.compute_metrics,
            callbacks=callbacks,
            lightning_flags=self.lightning_flags,
        )

    def _print(self, metrics: Mapping[str, Any], title: str) -> None:
        width = max(map(len, metrics))
        lines = [f"  {name:<{width}}  {value:.6g}" for name, value in metrics.items() if isinstance(value, int | float)]
        print(title, *lines, sep="\n", file=self.stdout)


class SaveConfig(TrainerCallback):
    """Writes config.yaml when training begins: all checks have passed by then, so a refused run changes nothing."""

    def __init__(self, config: str) -> None:
        self.config = config

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See TrainerCallback."""
        if state.is_world_process_zero:
            with update_folder(args.output_dir or "") as top:
                top.write_text("config.yaml", self.config)
