"""The model card of a run: README.md with the metadata that the hub reads, from what the trainer knows."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lt_trainer.results import Results

MARK = "<!-- Written by lt_trainer from what it knows of the run. Correct and complete it, then remove this line. -->"
GENERATED = "generated_from_trainer"
HEADS = {
    "ForSequenceClassification": ("text-classification", "Text Classification"),
    "ForTokenClassification": ("token-classification", "Token Classification"),
    "ForQuestionAnswering": ("question-answering", "Question Answering"),
    "ForMultipleChoice": ("multiple-choice", "Multiple Choice"),
    "ForConditionalGeneration": ("text2text-generation", "Sequence-to-sequence Language Modeling"),
    "ForMaskedLM": ("fill-mask", "Masked Language Modeling"),
    "ForCausalLM": ("text-generation", "Causal Language Modeling"),
    "LMHeadModel": ("text-generation", "Causal Language Modeling"),
}
"""How the name of a model's class ends -> (task on the hub, its name)."""
NO_METRIC = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
FILES = ("csv", "json", "pandas", "parquet", "text", "generator", "arrow")  # builders that name no data set
PACKAGES = ("lt_trainer", "torch", "lightning", "datasets", "tokenizers")


@dataclass
class Card:
    """What a card says; `text` is the card.

    Attributes:
        name: the headline.
        base_model: name on the hub of the model that was started from.
        tasks: (task on the hub, its name).
        data: (name on the hub, name to print, configuration or split or None) of each data set.
        results: metric -> value of the last evaluation.
        table: a row for each evaluation of the run: column -> value.
        arguments: of the run, as they are printed.
    """

    name: str
    base_model: str | None = None
    language: str | None = None
    license: str | None = None
    tags: list[str] = field(default_factory=list)
    tasks: list[tuple[str, str]] = field(default_factory=list)
    data: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    results: dict[str, float] = field(default_factory=dict)
    table: list[dict[str, Any]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trainer: Results, name: str, base_model: str | None, tasks: str | list[str] | None) -> Card:
        """What can be read off a trainer.

        Args:
            trainer: has been trained or evaluated.
            name: the headline.
            base_model: None: the name that the model was loaded by, where that is no folder.
            tasks: None: of the model's head.
        """
        history = trainer.state.log_history
        card = cls(name, base_model or _loaded_from(trainer.model), arguments=arguments_of(trainer))
        names = dict(HEADS.values())
        card.tasks = [(task, names.get(task, task)) for task in _listed(tasks)] or _task_of(trainer.model)
        card.results, card.table = last_results(history), results_by_step(history)
        return card

    def metadata(self) -> dict[str, Any]:
        """What the hub reads, model-index included: the results for each task and data set."""
        metrics = [{"name": _title(key), "type": key, "value": value} for key, value in self.results.items()]
        sets = [{"name": name, "type": tag, **more} for tag, name, more in self.data]
        results = [
            {"task": {"name": title, "type": task}, "dataset": data, "metrics": metrics}
            for task, title in self.tasks
            for data in sets or [{"name": "unknown", "type": "unknown"}]
            if metrics
        ]
        found = {
            "library_name": "transformers",
            "language": self.language,
            "license": self.license,
            "base_model": self.base_model,
            "pipeline_tag": self.tasks[0][0] if self.tasks else None,
            "tags": self.tags,
            "datasets": [tag for tag, _, _ in self.data],
            "metrics": [key for key in self.results if key != "loss"],
            "model-index": [{"name": self.name, "results": results}],
        }
        return {key: value for key, value in found.items() if value}

    def text(self) -> str:
        """The card: metadata in YAML, then Markdown."""
        import yaml

        head = yaml.safe_dump(self.metadata(), sort_keys=False, allow_unicode=True)
        parts = [f"---\n{head}---\n\n{MARK}\n\n# {self.name}", self._about(), "## Training", "### Arguments"]
        parts.append("\n".join(f"- {key}: {value}" for key, value in self.arguments.items()))
        if self.table:
            parts += ["### Results", _table(self.table)]
        versions = {name: _version(name) for name in PACKAGES}
        parts += ["### Versions", "\n".join(f"- {name} {found}" for name, found in versions.items() if found)]
        return "\n\n".join(parts) + "\n"

    def _about(self) -> str:
        link = f"[{self.base_model}](https://huggingface.co/{self.base_model}), fine-tuned"
        data = " and ".join(name for _, name, _ in self.data) or "data without a name"
        lines = [f"{link if self.base_model else 'Trained'} on {data}."]
        if self.results:
            lines += ["", "On the evaluation data:", ""]
            lines += [f"- {_title(key)}: {_shown(value)}" for key, value in self.results.items()]
        return "\n".join(lines)


def is_own(text: str) -> bool:
    """Whether a README.md is a card that may be written anew."""
    return MARK in text or "generated automatically according to the information the Trainer had access to" in text


def tags_of(tags: str | list[str] | None, before: str | None) -> list[str]:
    """The tags of a card: given ones, what a card before had, and what says where it comes from."""
    from huggingface_hub import ModelCard

    known = ModelCard(before).data.get("tags") if before else None
    return list(dict.fromkeys([*_listed(tags), *_listed(known), GENERATED, "lt_trainer"]))


def named_data(tags: Any, names: Any, configurations: Any) -> list[tuple[str, str, dict[str, str]]]:
    """The data that somebody named, as `Card.data` wants it: each a string, a list of them, or None."""
    tags, names, configurations = _listed(tags), _listed(names), _listed(configurations)
    tags = tags or [name.lower().replace(" ", "_") for name in names]
    names += tags[len(names) :]
    configurations += [None] * (len(tags) - len(configurations))
    return [
        (tag, name, {} if configuration is None else {"args": configuration})
        for tag, name, configuration in zip(tags, names, configurations, strict=False)
    ]


def data_of(rows: Any) -> list[tuple[str, str, dict[str, str]]]:
    """What rows of `datasets` know of where they came from; those of files or in memory have no name."""
    if isinstance(rows, dict):
        rows = next(iter(rows.values()), None)
    builder = getattr(rows, "builder_name", None)
    if not builder or builder in FILES:
        return []
    more = {"config": rows.config_name, "split": rows.split}
    return [(builder, builder, {key: str(value) for key, value in more.items() if value})]


def last_results(history: list[dict[str, Any]]) -> dict[str, float]:
    """Metrics of the last evaluation in a log history, without the prefix; speeds are left out."""
    return next((scores for entry in reversed(history) if (scores := _scores(entry))), {})


def results_by_step(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each evaluation of a log history, with the training loss logged last before it."""
    rows, loss = [], None
    for entry in history:
        loss = entry.get("loss", loss)
        if "epoch" in entry and (scores := _scores(entry)):
            values = {"Training loss": loss, "Epoch": entry["epoch"], "Step": entry["step"]}
            named = {"Validation loss" if key == "loss" else _title(key): value for key, value in scores.items()}
            rows.append(values | named)
    return rows


def arguments_of(trainer: Results) -> dict[str, Any]:
    """The arguments that a reader asks for first; no secret is among them."""
    args = trainer.args
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    found = {
        "learning_rate": args.learning_rate,
        "train_batch_size": args.per_device_train_batch_size,
        "eval_batch_size": args.per_device_eval_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "num_devices": args.world_size,
        "total_train_batch_size": rows,
        "seed": args.seed,
        "optimizer": f"{args.optim}, betas ({args.adam_beta1}, {args.adam_beta2}), epsilon {args.adam_epsilon}"
        + (f", {args.optim_args}" if args.optim_args else ""),
        "weight_decay": args.weight_decay,
        "lr_scheduler_type": str(args.lr_scheduler_type),
        "warmup_steps": args.warmup_steps,
        "max_grad_norm": args.max_grad_norm,
        **({"training_steps": args.max_steps} if args.max_steps > 0 else {"num_epochs": args.num_train_epochs}),
        "precision": "bf16-mixed" if args.bf16 else "fp16-mixed" if args.fp16 else "float32",
    }
    if args.label_smoothing_factor:
        found["label_smoothing_factor"] = args.label_smoothing_factor
    return found


def _scores(entry: Mapping[str, Any]) -> dict[str, float]:
    scores = {key.removeprefix("eval_"): value for key, value in entry.items() if key.startswith("eval_")}
    return {
        key: value for key, value in scores.items() if not key.endswith(NO_METRIC) and isinstance(value, int | float)
    }


def _loaded_from(model: Any) -> str | None:
    config = getattr(model, "config", None)
    name = str(getattr(config, "name_or_path", None) or "")
    return None if not name or Path(name).exists() or Path(name).is_absolute() else name


def _task_of(model: Any) -> list[tuple[str, str]]:
    return [task for end, task in HEADS.items() if type(model).__name__.endswith(end)][:1]


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _title(key: str) -> str:
    return " ".join(part.capitalize() for part in key.split("_"))


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "no log" if value is None else str(value)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---:"] * len(columns)]
    lines += [[_shown(row[column]) if column in row else "" for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
