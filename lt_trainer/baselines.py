"""What a classifier has to beat: the commonest class, and a linear model of which words occur."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD = re.compile(r"\w+|[^\w\s]")
DECAYS = (1e-4, 1e-3, 1e-2)  # strengths of the L2 penalty that are tried


def majority_accuracy(train_labels: Sequence[int], eval_labels: Sequence[int]) -> tuple[int, float]:
    """Answers every row with the commonest class of the training rows.

    Returns:
        That class, and the share of evaluation rows that it is right for.
    """
    (label, _), *_ = Counter(train_labels).most_common(1)
    return label, sum(y == label for y in eval_labels) / len(eval_labels)


class BagOfWords:
    """Multinomial logistic regression on which words a text holds, however often and wherever they stand.

    The strength of its L2 penalty is chosen on a tenth of the training rows, then the model is fitted to all of them
    with L-BFGS: a convex problem, so the result depends on no seed.

    Args:
        texts: training texts.
        labels: their class numbers.
        num_classes: how many classes there are.
        max_words: size of the vocabulary, commonest words first.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[int], num_classes: int, max_words: int = 30_000) -> None:
        self.num_classes = num_classes
        counts = Counter(word for text in texts for word in _words(text))
        self.ids = {word: i for i, (word, _) in enumerate(counts.most_common(max_words))}
        held_out = [i % 10 == 9 for i in range(len(texts))]
        decay = DECAYS[1]
        if any(held_out):
            fit = [i for i, out in enumerate(held_out) if not out]
            check = [i for i, out in enumerate(held_out) if out]
            check_texts, check_labels = [texts[i] for i in check], [labels[i] for i in check]
            fit_texts, fit_labels = [texts[i] for i in fit], [labels[i] for i in fit]
            scores = {}
            for candidate in DECAYS:
                self._fit(fit_texts, fit_labels, candidate)
                scores[candidate] = self.accuracy(check_texts, check_labels)
            decay = max(scores, key=lambda d: scores[d])
        self._fit(texts, labels, decay)

    def accuracy(self, texts: Sequence[str], labels: Sequence[int]) -> float:
        """The share of texts whose class is found."""
        return sum(p == y for p, y in zip(self.predict(texts), labels, strict=True)) / len(texts)

    def predict(self, texts: Sequence[str]) -> list[int]:
        """The likeliest class of each text."""
        with torch.no_grad():
            return self._logits(*self._encode(texts)).argmax(-1).tolist()

    def _fit(self, texts: Sequence[str], labels: Sequence[int], decay: float) -> None:
        self.weight = torch.zeros(len(self.ids), self.num_classes, requires_grad=True)
        self.bias = torch.zeros(self.num_classes, requires_grad=True)
        ids_N, offsets_B = self._encode(texts)
        labels_B = torch.tensor(labels)
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            error = nn.functional.cross_entropy(self._logits(ids_N, offsets_B), labels_B)
            total = error + decay / 2 * self.weight.square().sum()
            total.backward()
            return total

        optimizer.step(loss)

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [[self.ids[word] for word in _words(text) if word in self.ids] for text in texts]
        lengths = torch.tensor([0, *map(len, rows)])
        return torch.tensor([i for row in rows for i in row], dtype=torch.long), lengths.cumsum(0)[:-1]

    def _logits(self, ids_N: Tensor, offsets_B: Tensor) -> Tensor:
        return nn.functional.embedding_bag(ids_N, self.weight, offsets_B, mode="sum") + self.bias  # [B, C]


def _words(text: str) -> list[str]:
    return sorted(set(WORD.findall(text.lower())))
