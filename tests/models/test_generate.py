"""Generation: the cache, rows that leave, settings that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer.models.cache import Cache, Slots
from lt_trainer.models.generation_config import GenerationConfig
from lt_trainer.models.gpt2 import GPT2Config, GPT2LMHeadModel
from lt_trainer.models.scores import adjust, forbid_ngrams, narrow, penalise_repetition
from lt_trainer.models.t5 import T5Config, T5ForConditionalGeneration

if TYPE_CHECKING:
    from pathlib import Path

LENGTHS = (5, 2, 7)


def gpt2(**settings: Any) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=24, **{"eos_token_id": 1, **settings}
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    return model


def t5() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


def prompts(side: str = "left") -> dict[str, torch.Tensor]:
    column, length_B1 = torch.arange(7), torch.tensor(LENGTHS)[:, None]
    mask = (column < length_B1 if side == "right" else column >= 7 - length_B1).long()
    ids = torch.randint(5, 40, (3, 7), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids * mask, "attention_mask": mask}


# --- the cache --------------------------------------------------------------------------------------------------------


def test_rows_end_at_one_column() -> None:
    slots = Slots((2, 3), room=2)
    assert slots.start_B.tolist() == [1, 0]
    assert slots.index_N.tolist() == [1, 2, 5, 6, 7]  # rows of 5 slots
    assert slots.seen().squeeze().tolist() == [[False, True, True], [True, True, True]]
    assert Slots((3, 3)).seen() is None


def test_each_step_equals_reading_everything_anew() -> None:
    model, batch = gpt2(), prompts()
    for row, length in enumerate(LENGTHS):
        ids = batch["input_ids"][row, 7 - length :][None]
        out = model.generate(**batch, max_new_tokens=6, min_new_tokens=6)[row, 7:]
        for token in out:
            logits = model(ids).logits[0, -1]
            logits[1] = -torch.inf if ids.shape[1] < length + 6 else logits[1]
            assert int(logits.argmax()) == int(token)
            ids = torch.cat([ids, token.view(1, 1)], dim=1)


def test_the_keys_of_earlier_tokens_stay_where_they_are() -> None:
    model, batch = gpt2(), prompts()
    _, cache = model.read(**batch, prompt_BT=batch["input_ids"], room=4)
    places = [layer.keys.data_ptr() for layer in cache.layers]
    before = cache.layers[0].keys[:, :7].clone()
    for token in (9, 11, 13):
        model.step(torch.full((3,), token), cache)
    assert [layer.keys.data_ptr() for layer in cache.layers] == places
    assert torch.equal(cache.layers[0].keys[:, :7], before)
    cache.take(torch.arange(3))
    assert [layer.keys.data_ptr() for layer in cache.layers] == places


def test_rows_of_a_cache_are_taken_in_any_order() -> None:
    cache = Cache((1, 2), 1, 1, torch.device("cpu"))
    cache.layers[0].fill(torch.arange(3.0).view(3, 1, 1), torch.arange(3.0).view(3, 1, 1))
    cache.take(torch.tensor([1, 0, 1]))
    assert cache.layers[0].keys[:, :2].squeeze().tolist() == [[1, 2], [0, 0], [1, 2]]
    assert cache.slots.start_B.tolist() == [0, 1, 0]


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("build", [gpt2, t5])
def test_a_row_is_continued_as_if_it_were_alone(build: Any, beams: int) -> None:
    model, batch = build(), prompts()
    prompt = 7 if build is gpt2 else 1
    together = model.generate(**batch, max_new_tokens=8, num_beams=beams)
    for row, length in enumerate(LENGTHS):
        alone = model.generate(batch["input_ids"][row, 7 - length :][None], max_new_tokens=8, num_beams=beams)
        new = alone[0, length if build is gpt2 else 1 :]
        assert torch.equal(together[row, prompt : prompt + len(new)], new)


def test_padding_on_the_right_gives_the_same_continuation() -> None:
    model = gpt2()
    left, right = prompts("left"), prompts("right")
    for row, length in enumerate(LENGTHS):
        right["input_ids"][row, :length] = left["input_ids"][row, 7 - length :]
    one, other = (model.generate(**batch, max_new_tokens=6)[:, 7:] for batch in (left, right))
    assert torch.equal(one, other)


@pytest.mark.parametrize("beams", [1, 2])
def test_rows_that_have_ended_leave_the_batch(beams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = gpt2(), prompts()
    free = model.generate(**batch, max_new_tokens=8)[:, 7:]
    ends = sorted({int(free[0, 1]), int(free[2, 3])})
    sizes: list[int] = []
    step = model.step
    monkeypatch.setattr(model, "step", lambda ids, cache: sizes.append(len(ids)) or step(ids, cache))
    out = model.generate(
        **batch, max_new_tokens=8, eos_token_id=ends, pad_token_id=3, num_beams=beams, early_stopping=True
    )
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 3 * beams
    assert (out[0] == 3).any()


def test_several_continuations_of_a_prompt_are_drawn() -> None:
    out = gpt2().generate(**prompts(), max_new_tokens=4, do_sample=True, num_return_sequences=5)
    assert out.shape == (15, 11)
    assert torch.equal(out[:5, :7], prompts()["input_ids"][:1].expand(5, -1))
    assert len(out[:5, 7:].unique(dim=0)) > 1


def test_the_mode_stays_and_no_gradient_is_kept() -> None:
    model = gpt2().train()
    assert not model.generate(**prompts(), max_new_tokens=2).requires_grad
    assert model.training


# --- scores -----------------------------------------------------------------------------------------------------------


def test_repetition_is_penalised_by_sign_and_not_for_pad_tokens() -> None:
    scores = torch.tensor([[2.0, -2.0, 1.0, 4.0]])
    out = penalise_repetition(scores, torch.tensor([[3, 0, 1]]), torch.tensor([1]), 2.0)
    assert out.tolist() == [[1.0, -4.0, 1.0, 4.0]]


def test_a_sequence_of_tokens_does_not_come_twice() -> None:
    out = forbid_ngrams(torch.zeros(2, 5), torch.tensor([[1, 2, 3, 1, 2], [1, 2, 3, 3, 2]]), 3)
    assert out.isneginf().nonzero().tolist() == [[0, 3]]
    assert forbid_ngrams(torch.zeros(1, 5), torch.tensor([[1]]), 2).eq(0).all()


def test_an_end_is_not_allowed_too_early() -> None:
    config = GenerationConfig(eos_token_id=[1, 2], min_new_tokens=2)
    ids, start = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    assert adjust(torch.zeros(1, 4), ids, start, config, prompt=3).isneginf().tolist() == [[False, True, True, False]]
    assert not adjust(torch.zeros(1, 4), ids, start, config, prompt=2).isneginf().any()


def test_a_draw_is_narrowed_to_the_best() -> None:
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = [
        narrow(scores, GenerationConfig(do_sample=True, **settings)).isfinite().sum().item()
        for settings in ({}, {"top_k": 3}, {"top_p": 0.7}, {"top_p": 0.01}, {"top_k": 0})
    ]
    assert kept == [4, 3, 2, 1, 4]
    assert narrow(scores, GenerationConfig(top_p=0.01), least=2).isfinite().sum() == 2
    torch.testing.assert_close(narrow(scores, GenerationConfig(temperature=0.5)), scores * 2)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "num_beams=0: expected at least 1"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 and num_beams=1"),
        ({"num_return_sequences": 3, "num_beams": 2, "do_sample": True}, "num_return_sequences=3 and num_beams=2"),
        ({"temperature": 0.0, "do_sample": True}, "temperature=0.0: expected above 0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"early_stopping": "always"}, "early_stopping='always': expected True, False or 'never'"),
        ({"min_new_tokens": 5, "max_new_tokens": 3}, "min_new_tokens=5 is more than max_new_tokens=3"),
        ({"do_sample": False, "temperature": 0.5}, "do_sample=False takes the best token, and temperature=0.5"),
        ({"min_length": 12, "max_length": 9}, "min_length=12 is more than max_length=9"),
        ({"min_p": 0.1}, "min_p=0.1: not supported here"),
        ({"use_cache": False}, "use_cache=False: not supported here"),
        ({"max_length": 7}, "max_length=7: expected more than the prompt's 7 tokens"),
        ({"max_new_tokens": 30}, "would reach 37 tokens, but the model has positions for 24"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gpt2().generate(**prompts(), **settings)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"num_beams=0.*top_p=2\.0"):
        GenerationConfig().with_overrides({"num_beams": 0, "top_p": 2.0})


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="no setting 'max_tokens'; did you mean 'max_new_tokens'"):
        gpt2().generate(**prompts(), max_tokens=3)


def test_settings_come_back_from_a_folder_with_those_that_are_not_used(tmp_path: Path) -> None:
    config = GenerationConfig.from_dict(
        {"num_beams": 4, "top_k": None, "transformers_version": "5", "eos_token_id": [1, 2]}
    )
    assert (config.top_k, config.ends) == (50, [1, 2])
    config.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path) == config
    assert config.to_dict() == {"num_beams": 4, "eos_token_id": [1, 2], "transformers_version": "5"}


def test_settings_are_read_from_a_folder_and_from_a_file_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text('{"max_new_tokens": 3}')
    for found in (
        GenerationConfig.from_pretrained(tmp_path, "short.json"),
        GenerationConfig.from_pretrained(tmp_path / "short.json"),
    ):
        assert found == GenerationConfig(max_new_tokens=3)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"list\.json: expected a JSON object of settings, found list"):
        GenerationConfig.from_pretrained(tmp_path / "list.json")


def test_a_setting_of_a_file_that_would_change_the_text_is_refused_when_it_is_used() -> None:
    config = GenerationConfig.from_dict({"suppress_tokens": [3], "typical_p": 1.0, "transformers_version": "5"})
    with pytest.raises(ValueError, match=r"suppress_tokens=\[3\]: not supported here") as caught:
        gpt2().generate(**prompts(), generation_config=config)
    assert "typical_p" not in str(caught.value)


def test_what_nothing_reads_is_told_once_by_generate_and_refused_where_it_is_strict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpt2().generate(**prompts(), max_new_tokens=1, temperature=0.5)
    assert "temperature=0.5 is not read without do_sample=True" in caplog.text
    config = GenerationConfig(length_penalty=2.0)
    config.validate()
    with pytest.raises(ValueError, match=r"length_penalty=2\.0 is not read without num_beams above 1"):
        config.validate(strict=True)
    GenerationConfig(length_penalty=2.0, num_beams=2).validate(strict=True)


def test_settings_that_a_file_holds_may_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    drawn = GenerationConfig(do_sample=True, temperature=0.5)
    assert not drawn.with_overrides({"do_sample": False, "temperature": 0.0, "top_p": 1.0}).do_sample
    assert not caplog.text


def test_values_are_updated_in_place_and_others_come_back() -> None:
    config = GenerationConfig()
    assert config.update(num_beams=3, toys=1) == {"toys": 1}
    assert config.num_beams == 3


def test_settings_of_an_old_model_configuration_are_taken() -> None:
    config = GPT2Config.from_dict({"vocab_size": 40, "eos_token_id": 1, "num_beams": 4, "max_length": 30})
    assert GenerationConfig.from_model_config(config) == GenerationConfig(
        num_beams=4, max_length=30, eos_token_id=1, bos_token_id=config.bos_token_id, pad_token_id=config.pad_token_id
    )


def test_a_model_takes_the_settings_of_its_folder_and_writes_them(tmp_path: Path) -> None:
    model = gpt2()
    model.generation_config.num_beams = 2
    model.save_pretrained(tmp_path)
    assert GPT2LMHeadModel.from_pretrained(tmp_path).generation_config.num_beams == 2


def test_twenty_tokens_where_nobody_says_how_many() -> None:
    config = GenerationConfig()
    assert config.longest(5) == 25
    assert GenerationConfig(max_length=9).longest(5) == 9
    assert GenerationConfig(max_length=9, max_new_tokens=2).longest(5) == 7
