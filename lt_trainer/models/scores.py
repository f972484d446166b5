"""What changes the scores of the next token before one is chosen: pure functions.

Dimension letters: B rows, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lt_trainer.models.generation_config import GenerationConfig


def adjust(scores_BV: Tensor, ids_BT: Tensor, start_B: Tensor, config: GenerationConfig, prompt: int) -> Tensor:
    """Repetitions and too early ends.

    Args:
        scores_BV: logits or log probabilities.
        ids_BT: the tokens so far, pad tokens of the prompt on the left.
        start_B: the column of each row's first token.
        config: the settings.
        prompt: tokens of the prompt.
    """
    if config.repetition_penalty != 1.0:
        scores_BV = penalise_repetition(scores_BV, ids_BT, start_B, config.repetition_penalty)
    if config.no_repeat_ngram_size:
        scores_BV = forbid_ngrams(scores_BV, ids_BT, config.no_repeat_ngram_size)
    if config.ends and ids_BT.shape[1] < config.shortest(prompt):
        scores_BV = scores_BV.index_fill(1, torch.tensor(config.ends, device=scores_BV.device), -torch.inf)
    return scores_BV


def narrow(scores_BV: Tensor, config: GenerationConfig, least: int = 1) -> Tensor:
    """What a draw is made among: temperature, the `top_k` best, the best with `top_p` of the probability.

    Args:
        scores_BV: logits or log probabilities.
        config: the settings.
        least: tokens that stay in any case.
    """
    if config.temperature != 1.0:
        scores_BV = scores_BV / config.temperature
    if config.top_k:
        best = scores_BV.topk(min(max(config.top_k, least), scores_BV.shape[1]), dim=1).values
        scores_BV = scores_BV.masked_fill(scores_BV < best[:, -1:], -torch.inf)
    if config.top_p < 1.0:
        ordered, token = scores_BV.sort(dim=1)
        unlikely = ordered.softmax(dim=1).cumsum(dim=1) <= 1 - config.top_p
        unlikely[:, -least:] = False
        scores_BV = scores_BV.masked_fill(unlikely.scatter(1, token, unlikely), -torch.inf)
    return scores_BV


def penalise_repetition(scores_BV: Tensor, ids_BT: Tensor, start_B: Tensor, penalty: float) -> Tensor:
    """Divides positive scores of tokens that occurred by `penalty` and multiplies negative ones by it.

    Source: https://arxiv.org/abs/1909.05858
    """
    real_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device) >= start_B[:, None]
    occurred_BV = torch.zeros(scores_BV.shape[0], scores_BV.shape[1] + 1, dtype=torch.bool, device=scores_BV.device)
    occurred_BV.scatter_(1, ids_BT.where(real_BT, scores_BV.shape[1]), True)
    penalised_BV = torch.where(scores_BV < 0, scores_BV * penalty, scores_BV / penalty)
    return torch.where(occurred_BV[:, :-1], penalised_BV, scores_BV)


def forbid_ngrams(scores_BV: Tensor, ids_BT: Tensor, size: int) -> Tensor:
    """No token that would complete a sequence of `size` tokens for the second time."""
    if ids_BT.shape[1] < size:
        return scores_BV
    windows = ids_BT.unfold(1, size, 1)  # [B, places, size]
    repeats = (windows[..., :-1] == ids_BT[:, None, ids_BT.shape[1] - size + 1 :]).all(dim=-1)
    row, place = repeats.nonzero(as_tuple=True)
    scores_BV = scores_BV.clone()
    scores_BV[row, windows[row, place, -1]] = -torch.inf
    return scores_BV
