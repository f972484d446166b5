"""Masked language modelling from raw rows."""

from __future__ import annotations

import math

import pytest
import torch
from datasets import Dataset

from lt_trainer import MaskedLM, MaskedLMData, Trainer
from tests.tasks.language import TEXTS, WORDS, arguments, lightning, losses_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


@pytest.fixture
def folder(tiny_bert):
    return str(tiny_bert(head="masked"))


def data_for(folder, rows=TEXTS, **options):
    rows = rows if isinstance(rows, str) else Dataset.from_dict({"text": rows})
    data = MaskedLMData(folder, train=rows, validation=rows, **{"max_length": 32, **options})
    data.setup()
    return data


def originals(data, rows):
    return [
        [label if label != -100 else token for token, label in zip(row["input_ids"], row["labels"], strict=True)]
        for row in rows
    ]


def test_rows_are_texts_of_which_something_is_hidden(folder):
    data = data_for(folder, mlm_probability=0.5, mask_replace_prob=1.0, random_replace_prob=0.0)
    rows = [data.eval_dataset[number] for number in range(len(TEXTS))]
    tokenizer, mask = data.tokenizer, data.tokenizer.mask_token_id
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in originals(data, rows)] == TEXTS
    for row in rows:
        assert all((token == mask) == (label != -100) for token, label in zip(*row.values(), strict=True))
        assert row["labels"][0] == row["labels"][-1] == -100


def test_a_long_text_is_cut_into_pieces_between_special_tokens(folder):
    data = data_for(folder, [" ".join(WORDS)], max_length=12, mlm_probability=0.0)
    pieces = [data.train_dataset[number]["input_ids"] for number in range(len(data.train_dataset))]
    ids = data.tokenizer(" ".join(WORDS), add_special_tokens=False)["input_ids"]
    assert [token for piece in pieces for token in piece[1:-1]] == ids
    assert {(piece[0], piece[-1]) for piece in pieces} == {(2, 3)}
    assert max(map(len, pieces)) == 12


def test_whole_words_are_hidden_whole_also_where_a_text_was_cut(folder):
    data = data_for(folder, whole_word_mask=True, mlm_probability=0.5, max_length=10)
    hidden = set()
    for number in range(len(data.eval_dataset)):
        row, ids = data.eval_dataset[number], data.eval_dataset.rows[number]["input_ids"]
        tokens = data.tokenizer.convert_ids_to_tokens(ids)
        words: list[list[int]] = []
        for place, token in enumerate(tokens):
            if token in ("[CLS]", "[SEP]"):
                assert row["labels"][place] == -100
            elif token.startswith("##") and words and words[-1][-1] == place - 1:
                words[-1].append(place)
            else:
                words.append([place])
        for word in words:
            states = {row["labels"][place] != -100 for place in word}
            assert len(states) == 1, (tokens, row)
            hidden |= {(len(word) > 1, *states)}
    assert hidden >= {(True, True), (True, False)}


def test_masks_are_drawn_anew_in_each_epoch_and_stay_in_evaluation(folder):
    data = data_for(folder)
    loader = data.train_dataloader()

    def epoch(number):
        loader.sampler.set_epoch(number)
        found = {}
        for window in loader:
            for row, labels in zip(window.rows[0], window.batches[0]["labels"].tolist(), strict=True):
                found[row] = [label for label in labels if label != -100]
        return found

    assert epoch(0) == epoch(0) != epoch(1)
    first, again = ([b["labels"].tolist() for w in data.val_dataloader() for b in w.batches] for _ in range(2))
    assert first == again


def test_the_facade_trains_from_raw_rows_and_measures_perplexity(folder, tmp_path):
    trainer = Trainer(
        model=folder,
        task="masked-lm",
        args=arguments(tmp_path, num_train_epochs=4, max_steps=-1),
        train_dataset=Dataset.from_dict({"text": TEXTS}),
        eval_dataset=Dataset.from_dict({"text": WORDS * 2}),
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_perplexity"] == pytest.approx(math.exp(after["eval_loss"]))
    assert after["eval_loss"] < before["eval_loss"] - 0.3


def test_facade_and_plain_lightning_make_the_same_steps(folder, tmp_path):
    data = data_for(folder, batch_size=4)
    task = MaskedLM(folder, learning_rate=1e-3)
    trainer = lightning(tmp_path, max_epochs=2)
    trainer.fit(task, datamodule=data)
    assert {"val_loss", "val_perplexity"} <= trainer.callback_metrics.keys()
    other = MaskedLM(folder)
    Trainer(task=other, data=data, args=arguments(tmp_path / "run", num_train_epochs=2, max_steps=-1)).train()
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 8), (4, 2), (3, 3)])
def test_neither_the_loss_nor_its_evaluation_depend_on_how_a_step_is_cut(folder, tmp_path, batch, accumulation):
    def run(batch, accumulation):
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "max_steps": 2}
        args = arguments(tmp_path, learning_rate=0.0, per_device_eval_batch_size=batch, **options)
        trainer = Trainer(task=MaskedLM(folder), data=data_for(folder), args=args)
        trainer.train()
        return losses_of(trainer), trainer.evaluate()["eval_loss"]

    cut_up, whole = run(batch, accumulation), run(batch * accumulation, 1)
    assert cut_up[0] == pytest.approx(whole[0], rel=1e-5)
    assert cut_up[1] == pytest.approx(whole[1], rel=1e-6)


def test_a_resumed_run_hides_what_it_would_have_hidden(folder, tmp_path):
    def trainer(name, **options):
        args = arguments(tmp_path / name, max_steps=12, **options)
        return Trainer(task=MaskedLM(folder), data=data_for(folder), args=args)

    whole = trainer("whole")
    whole.train()
    trainer("cut", save_strategy="steps", save_steps=5).train()
    resumed = trainer("cut", save_strategy="steps", save_steps=5)
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-5"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_masks_of_test_rows_are_filled_in(folder, tmp_path):
    rows = Dataset.from_dict({"text": ["the [MASK] was dull", "a [MASK] [MASK]", "the plot was dull"]})
    data = MaskedLMData(folder, test=rows, eval_batch_size=2, mlm_probability=1.0)
    task = MaskedLM(folder)
    trainer = Trainer(task=task, data=data, args=arguments(tmp_path))
    records = list(task.records(trainer.predict(data.test_dataset).predictions, data.test_dataset))
    batch = data.tokenizer(rows["text"][0], return_tensors="pt")
    place = batch["input_ids"][0].tolist().index(data.tokenizer.mask_token_id)
    best = int(task.model.eval()(**batch).logits[0, place].argmax())
    assert records[0]["tokens"] == [data.tokenizer.convert_ids_to_tokens(best)]
    assert [len(record["tokens"]) for record in records[:2]] == [1, 2]
    assert "[MASK]" not in records[0]["text"] + records[1]["text"]
    assert data.test_dataset[0]["labels"] == [-100] * 6
    plain = [row for part in lightning(tmp_path).predict(task, datamodule=data) for row in part]
    assert plain == records
    assert any(label != -100 for label in data.test_dataset[2]["labels"])


def test_bad_settings_are_refused_with_what_was_expected(folder):
    with pytest.raises(ValueError, match="max_length=2: expected room for a token beside the 2 special ones"):
        data_for(folder, max_length=2).setup()
    with pytest.raises(ValueError, match=r"\(1.5, 0.8, 0.1\): expected shares from 0 to 1"):
        data_for(folder, mlm_probability=1.5)
    with pytest.raises(ValueError, match="the last two together 1 at most"):
        data_for(folder, random_replace_prob=0.3)
    with pytest.raises(ValueError, match=r"column 'text' is not there: expected one of .*; name it in text_column"):
        MaskedLMData(folder, train=[{"words": "a"}]).setup()
    data = MaskedLMData(folder, train=[{"text": "a"}])
    data.tokenizer.mask_token = None
    with pytest.raises(ValueError, match="expected a tokenizer with a mask token"):
        data.setup()


def test_a_model_from_scratch_learns_the_built_in_texts(tmp_path):
    trainer = Trainer(
        model="scratch",
        task="masked-lm",
        args=arguments(tmp_path, max_steps=3),
        processing_class="scratch",
        data={"dataset": "builtin", "whole_word_mask": True},
    )
    trainer.train()
    assert len(losses_of(trainer)) == 3
    assert trainer.evaluate()["eval_perplexity"] > 1
