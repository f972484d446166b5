"""Causal language modelling from raw rows: what is read, what is a target, what nobody sees."""

from __future__ import annotations

import logging
import math
import sys

import pytest
import torch
from datasets import Dataset

from lt_trainer import CausalLM, CausalLMData, Trainer
from tests.tasks.language import TEXTS, WORDS, arguments, byte_tokenizer, lightning, losses_of, tiny_gpt2

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


@pytest.fixture
def tokenizer():
    return byte_tokenizer()


def data_for(tokenizer, rows=TEXTS, column="text", **options):
    rows = rows if isinstance(rows, str | Dataset) else Dataset.from_dict({column: rows})
    options = {"block_size": 32, **options}
    data = CausalLMData(tokenizer, train=rows, validation=rows, **options)
    data.setup()
    return data


def rows_of(data):
    return [data.train_dataset[number] for number in range(len(data.train_dataset))]


def texts_of(row):
    """The texts of a packed row."""
    starts = [place for place, position in enumerate(row["position_ids"]) if position == 0]
    return [row["input_ids"][start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


# --- plain text -------------------------------------------------------------------------------------------------------


def test_texts_fill_rows_and_keep_their_end_token(tokenizer):
    data = data_for(tokenizer)
    rows = rows_of(data)
    end = tokenizer.eos_token_id
    expected = sorted([*tokenizer(text)["input_ids"], end] for text in TEXTS)
    assert sorted(text for row in rows for text in texts_of(row)) == expected
    assert max(len(row["input_ids"]) for row in rows) <= 32
    assert len(rows) < len(TEXTS)


def test_a_text_longer_than_a_block_is_cut_into_pieces_and_loses_nothing(tokenizer):
    text = " ".join(WORDS * 3)
    data = data_for(tokenizer, [text], block_size=16)
    pieces = [text for row in rows_of(data) for text in texts_of(row)]
    assert all(len(piece) <= 16 for piece in pieces)
    assert sorted(token for piece in pieces for token in piece) == sorted(
        [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    )
    assert data.reports["train"].counts.features > 1


def test_changing_one_text_of_a_row_changes_the_scores_of_others_by_exactly_nothing(tokenizer):
    data, model = data_for(tokenizer), tiny_gpt2().eval()
    batch = data.collate([data.train_dataset[0], data.train_dataset[1]])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    first = len(texts_of(data.train_dataset[0])[0])
    before = model(**inputs).logits
    inputs["input_ids"] = inputs["input_ids"].clone()
    inputs["input_ids"][0, :first] = 7
    after = model(**inputs).logits
    assert torch.equal(after[0, first:], before[0, first:])
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0, :first], before[0, :first])


def test_the_loss_of_packed_rows_is_that_of_each_text_alone(tokenizer):
    data, model = data_for(tokenizer), tiny_gpt2().eval()
    total, count = 0.0, 0
    for text in TEXTS:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        total += model(input_ids=ids, labels=ids).loss.item() * (ids.numel() - 1)
        count += ids.numel() - 1
    batch = data.collate(rows_of(data))
    assert model.count_targets(batch) == count
    assert model(**batch).loss.item() == pytest.approx(total / count, rel=1e-5)


def test_contaminated_rows_are_asked_for_by_name(tokenizer):
    data = data_for(tokenizer, packing="contaminated", block_size=16)
    rows = rows_of(data)
    flat = [token for text in TEXTS for token in tokenizer(text)["input_ids"]]
    assert [token for row in rows for token in row["input_ids"]] == flat
    assert {len(row["input_ids"]) for row in rows[:-1]} == {16}
    batch = data.collate(rows[:2])
    assert "position_ids" not in batch
    assert batch["labels"].tolist() == batch["input_ids"].tolist()


def test_without_packing_a_row_is_a_text(tokenizer):
    assert len(data_for(tokenizer, packing="none").train_dataset) == len(TEXTS)


def test_what_is_not_known_is_refused_with_what_is(tokenizer):
    with pytest.raises(ValueError, match=r"packing='best'.*documents, contaminated, none"):
        data_for(tokenizer, packing="best")
    with pytest.raises(ValueError, match=r"sample_by='page'.*document, paragraph, line"):
        data_for(tokenizer, sample_by="page")
    with pytest.raises(ValueError, match="block_size=1: expected 2"):
        data_for(tokenizer, block_size=1)
    with pytest.raises(ValueError, match=r"'text', or 'prompt' and 'completion', or 'messages', received \['words'\]"):
        data_for(tokenizer, column="words")


@pytest.mark.parametrize(("sample_by", "count"), [("document", 1), ("paragraph", 2), ("line", 3)])
def test_plain_text_files_are_one_text_or_many(tokenizer, tmp_path, sample_by, count):
    (tmp_path / "wiki.txt").write_text(" = Title = \n \n go \n a dog \n")
    data = CausalLMData(tokenizer, train=str(tmp_path / "wiki.txt"), sample_by=sample_by, block_size=64, packing="none")
    data.setup()
    assert len(data.train_dataset) == count
    text = tokenizer.decode(data.train_dataset[0]["input_ids"])
    assert text == (" = Title = \n \n go \n a dog <|end|>" if count == 1 else " = Title = <|end|>")


def test_broken_text_files_are_named(tokenizer, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"good\nb\xff\n")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"bad.txt:2: byte b'\\xff'"):
        data_for(tokenizer, str(tmp_path / "bad.txt"))
    with pytest.raises(ValueError, match=r"empty.txt holds no text"):
        data_for(tokenizer, str(tmp_path / "empty.txt"))
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        data_for(tokenizer, str(tmp_path / "none.txt"))


def test_the_token_that_pads_is_named_and_stays_a_target(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        data = data_for(tokenizer)
    assert "no pad token: its end token '<|end|>' (id 0) is taken" in caplog.text
    assert tokenizer.pad_token == "<|end|>"
    batch = data.collate([data.train_dataset[0]])
    assert tokenizer.eos_token_id in batch["labels"].tolist()[0]


# --- prompts ---------------------------------------------------------------------------------------------------------

PAIRS = Dataset.from_dict({"prompt": ["the cat", "go"], "completion": [" sat on the mat", " a dog"]})


def test_nothing_of_a_prompt_is_a_target(tokenizer):
    data = data_for(tokenizer, PAIRS, packing="none")
    row = data.train_dataset[0]
    asked, answer = (
        tokenizer("the cat")["input_ids"],
        [*tokenizer(" sat on the mat")["input_ids"], tokenizer.eos_token_id],
    )
    assert row == {"input_ids": asked + answer, "labels": [-100] * len(asked) + answer}


def test_prompts_are_packed_too(tokenizer):
    data = data_for(tokenizer, PAIRS)
    (row,) = rows_of(data)
    assert len(texts_of(row)) == 2
    answers = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in PAIRS["completion"]]
    assert sorted(x for x in row["labels"] if x != -100) == sorted(answers[0] + answers[1])


def test_a_prompt_that_fills_the_block_is_named_by_its_row(tokenizer):
    with pytest.raises(ValueError, match=r"train, row 0: .*block_size=2.*raise block_size"):
        data_for(tokenizer, PAIRS, block_size=2)


def test_an_answer_that_is_cut_is_counted(tokenizer):
    lengths = [len(tokenizer(prompt + answer)["input_ids"]) + 1 for prompt, answer in PAIRS.to_pandas().to_numpy()]
    data = data_for(tokenizer, PAIRS, block_size=min(lengths), packing="none")
    assert data.reports["train"].counts.truncated == 1
    assert max(len(row["input_ids"]) for row in rows_of(data)) == min(lengths) < max(lengths)


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_facade_trains_from_raw_rows_and_measures_perplexity(tokenizer, tmp_path):
    trainer = Trainer(
        model=tiny_gpt2(),
        task="causal-lm",
        args=arguments(tmp_path, num_train_epochs=6, max_steps=-1),
        data={"block_size": 32},
        train_dataset=Dataset.from_dict({"text": TEXTS}),
        eval_dataset=Dataset.from_dict({"text": WORDS}),
        processing_class=tokenizer,
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_perplexity"] == pytest.approx(math.exp(after["eval_loss"]))
    assert after["eval_loss"] < before["eval_loss"] - 0.3


def test_facade_and_plain_lightning_make_the_same_steps(tokenizer, tmp_path):
    data = data_for(tokenizer, batch_size=2)
    task = CausalLM(tiny_gpt2(), learning_rate=1e-3)
    pl_trainer = lightning(tmp_path, max_epochs=2)
    pl_trainer.fit(task, datamodule=data)
    assert {"val_loss", "val_perplexity"} <= pl_trainer.callback_metrics.keys()
    other = CausalLM(tiny_gpt2())
    args = arguments(tmp_path / "run", num_train_epochs=2, max_steps=-1, per_device_train_batch_size=2)
    Trainer(task=other, data=data, args=args).train()
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 4), (2, 2), (3, 1)])
def test_neither_the_loss_nor_its_evaluation_depend_on_how_a_step_is_cut(tokenizer, tmp_path, batch, accumulation):
    def run(batch, accumulation):
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "max_steps": 2}
        args = arguments(tmp_path, learning_rate=0.0, per_device_eval_batch_size=batch, **options)
        trainer = Trainer(task=CausalLM(tiny_gpt2()), data=data_for(tokenizer), args=args)
        trainer.train()
        return losses_of(trainer), trainer.evaluate()["eval_loss"]

    cut_up, whole = run(batch, accumulation), run(batch * accumulation, 1)
    assert cut_up[0] == pytest.approx(whole[0], rel=1e-5)
    assert cut_up[1] == pytest.approx(whole[1], rel=1e-6)


def test_an_evaluation_makes_no_logits(tokenizer, tmp_path, monkeypatch):
    trainer = Trainer(task=CausalLM(tiny_gpt2()), data=data_for(tokenizer), args=arguments(tmp_path))

    def forbidden(*args):
        raise AssertionError("logits were made")

    monkeypatch.setattr(type(trainer.model), "scores", forbidden)
    assert trainer.evaluate()["eval_loss"] > 0


def test_predictions_are_what_the_model_writes_behind_a_prompt(tokenizer, tmp_path):
    rows = Dataset.from_dict({"prompt": ["the cat", "go", "a dog ran"]})
    data = CausalLMData(tokenizer, test=rows, block_size=32, eval_batch_size=2)
    task = CausalLM(tiny_gpt2(), tokenizer=tokenizer, max_new_tokens=5)
    trainer = Trainer(task=task, data=data, args=arguments(tmp_path))
    records = list(task.records(trainer.predict(data.test_dataset).predictions, data.test_dataset))
    model = task.model.eval()
    for prompt, record in zip(rows["prompt"], records, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        alone = model.generate(ids, max_new_tokens=5)[0, ids.shape[1] :]
        expected = tokenizer.decode(alone.tolist(), skip_special_tokens=True)
        assert record == {"prompt": prompt, "completion": expected}
    plain = [row for part in lightning(tmp_path).predict(task, datamodule=data) for row in part]
    assert plain == records


def test_a_prompt_ends_at_the_first_target_and_packed_rows_have_none(tokenizer, tmp_path):
    data = CausalLMData(tokenizer, test=PAIRS, validation=PAIRS, block_size=32)
    task = CausalLM(tiny_gpt2(), tokenizer=tokenizer, max_new_tokens=2)
    trainer = Trainer(task=task, data=data, args=arguments(tmp_path))
    output = trainer.predict(data.test_dataset)
    prompts = [record["prompt"] for record in task.records(output.predictions, data.test_dataset)]
    assert prompts == list(PAIRS["prompt"])
    assert output.metrics["test_perplexity"] > 1
    with pytest.raises(ValueError, match="expected a text a row, received 2 texts in 1 rows"):
        trainer.predict(data.eval_dataset)


def test_an_evaluation_writes_behind_prompts_for_the_first_rows(tokenizer, tmp_path):
    data = CausalLMData(tokenizer, validation=PAIRS, block_size=32, packing="none")
    seen = []
    for count in (None, 2):
        task = CausalLM(tiny_gpt2(), tokenizer=tokenizer, max_new_tokens=3, generate_max_examples=count)
        options = {"compute_metrics": lambda p: seen.append(p) or {}, "args": arguments(tmp_path)}
        metrics = Trainer(task=task, data=data, **options).evaluate()
        assert metrics.get("eval_predicted_rows") == count
        assert metrics["eval_loss"] == pytest.approx(math.log(metrics["eval_perplexity"]))
    whole, some = seen
    assert (len(whole.predictions), len(some.predictions), len(some.label_ids)) == (len(PAIRS), 2, 2)
    assert (whole.predictions[:2] == some.predictions).all()


def test_models_that_mix_texts_are_refused(tokenizer):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    with pytest.raises(ValueError, match=r"packing='documents': expected a native model, received GPT2LMHeadModel"):
        CausalLM(model, packing="documents")
    assert CausalLM(model, packing="none").model is model


def test_a_model_from_scratch_learns_the_built_in_texts(tmp_path):
    trainer = Trainer(
        model="scratch",
        task="causal-lm",
        args=arguments(tmp_path, max_steps=3),
        processing_class="scratch",
        data={"dataset": "builtin"},
    )
    trainer.train()
    assert len(losses_of(trainer)) == 3
    assert trainer.train_dataset.filled > 0.97
    assert trainer.evaluate()["eval_perplexity"] > 1


def test_the_task_and_its_data_are_public():
    assert sys.modules[CausalLM.__module__].__name__ == "lt_trainer.tasks.causal_lm"
