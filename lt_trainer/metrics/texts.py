"""How like a text is to the one that was wanted: BLEU, chrF and ROUGE, in percent, equal to their reference packages.

torchmetrics has all three, but its BLEU is 0 where an n-gram order has no match (sacreBLEU smooths), its chrF differs
from sacreBLEU's by up to a point (and takes a hundred times as long), and its ROUGE-Lsum downloads a sentence splitter.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torchmetrics import Metric
from torchmetrics.text import SacreBLEUScore

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from torch import Tensor


class BLEU(SacreBLEUScore):
    """BLEU of a corpus with the tokenization ("13a") and the smoothing ("exp") of sacreBLEU.

    Source: https://aclanthology.org/W18-6319
    """

    def compute(self) -> Tensor:
        """0 to 100: the geometric mean of the precisions of 1 to 4 words, times the brevity penalty."""
        matches, totals = self.numerator.tolist(), self.denominator.tolist()
        written, wanted = self.preds_len.item(), self.target_len.item()
        if not any(matches) or not all(totals):
            return torch.zeros(())
        logs, halving = [], 1.0
        for match, total in zip(matches, totals, strict=True):
            halving *= 1 if match else 2  # each order without a match counts half of the one before it
            logs.append(math.log(match / total if match else 1 / (halving * total)))
        brevity = min(0.0, 1 - wanted / written)
        return torch.tensor(100 * math.exp(brevity + sum(logs) / len(logs)))


class ChrF(Metric):
    """The F-score of character n-grams of a corpus, recall counting twice; white space is left out.

    Args:
        orders: the longest n-gram.
        beta: the weight of recall.

    Source: https://aclanthology.org/W15-3049
    """

    full_state_update = False
    higher_is_better = True
    counts: Tensor

    def __init__(self, orders: int = 6, beta: float = 2.0) -> None:
        super().__init__()
        self.orders, self.beta = orders, beta
        self.add_state("counts", torch.zeros(orders, 3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], targets: Sequence[str]) -> None:
        """Adds texts and what they should have been."""
        rows = [self._count(prediction, target) for prediction, target in zip(predictions, targets, strict=True)]
        self.counts += torch.tensor(rows, dtype=torch.float64, device=self.counts.device).sum(dim=0)

    def _count(self, prediction: str, target: str) -> list[tuple[int, int, int]]:
        """(written, wanted, matches) of each order; without a wanted n-gram none is counted."""
        written, wanted = "".join(prediction.split()), "".join(target.split())
        pairs = [(ngrams(written, n), ngrams(wanted, n)) for n in range(1, self.orders + 1)]
        return [(one.total() if other else 0, other.total(), (one & other).total()) for one, other in pairs]

    def compute(self) -> Tensor:
        """0 to 100: precision and recall are means over the orders that both sides have."""
        shares = [(match / n, match / m) for n, m, match in self.counts.tolist() if n and m]
        if not any(precision for precision, _ in shares):
            return torch.zeros(())
        precision, recall = (sum(values) / len(shares) for values in zip(*shares, strict=True))
        weight = self.beta**2
        return torch.tensor(100 * (1 + weight) * precision * recall / (weight * precision + recall))


class Rouge(Metric):
    """The mean F-scores of words, pairs of words and longest common subsequences; without stemming.

    Words are runs of a to z and 0 to 9 in lower case; `rougeLsum` takes each line of a text as a sentence.

    Source: https://aclanthology.org/W04-1013; the rules of the package rouge_score.
    """

    full_state_update = False
    higher_is_better = True
    kinds = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    sums: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(self.kinds), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], targets: Sequence[str]) -> None:
        """Adds texts and what they should have been."""
        scores = [rouge(prediction, target) for prediction, target in zip(predictions, targets, strict=True)]
        self.sums += torch.tensor(scores, dtype=torch.float64, device=self.sums.device).sum(dim=0)
        self.rows += len(scores)

    def compute(self) -> dict[str, Tensor]:
        """0 to 100, by the names of `kinds`."""
        means = 100 * self.sums / self.rows.clamp(min=1)
        return dict(zip(self.kinds, means.float(), strict=True))


def rouge(prediction: str, target: str) -> tuple[float, float, float, float]:
    """The F-scores of one row, 0 to 1, in the order of `Rouge.kinds`."""
    written, wanted = words(prediction), words(target)
    by_words, by_pairs = (f_score((a & b).total(), a.total(), b.total()) for a, b in _orders(written, wanted))
    longest = len(common_places(wanted, written))
    lines, wanted_lines = ([words(line) for line in text.split("\n") if line] for text in (prediction, target))
    union = _union(lines, wanted_lines)
    in_all = f_score(union, sum(map(len, lines)), sum(map(len, wanted_lines)))
    return by_words, by_pairs, f_score(longest, len(written), len(wanted)), in_all


def words(text: str) -> list[str]:
    """Runs of a to z and 0 to 9, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(items: Sequence[Hashable], size: int) -> Counter[Any]:
    """How often each run of `size` items occurs."""
    return Counter(tuple(items[i : i + size]) for i in range(len(items) - size + 1))


def f_score(matches: int, written: int, wanted: int) -> float:
    """The harmonic mean of precision and recall; 0 without a match."""
    return 2 * matches / (written + wanted) if matches else 0.0


def common_places(wanted: Sequence[str], written: Sequence[str]) -> list[int]:
    """Places in `wanted` of a longest subsequence that `written` has too."""
    table = [[0] * (len(written) + 1) for _ in range(len(wanted) + 1)]
    for i, word in enumerate(wanted, 1):
        before, row = table[i - 1], table[i]
        for j, other in enumerate(written, 1):
            row[j] = before[j - 1] + 1 if word == other else max(row[j - 1], before[j])
    i, j, places = len(wanted), len(written), []
    while i and j:
        if wanted[i - 1] == written[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]


def _orders(written: list[str], wanted: list[str]) -> list[tuple[Counter[Any], Counter[Any]]]:
    return [(ngrams(written, n), ngrams(wanted, n)) for n in (1, 2)]


def _union(lines: list[list[str]], wanted_lines: list[list[str]]) -> int:
    """Words of the wanted lines that are in a longest subsequence with any line; each word as often as both have it."""
    left = Counter(word for line in lines for word in line) & Counter(word for line in wanted_lines for word in line)
    matches = 0
    for wanted in wanted_lines:
        for place in sorted({place for line in lines for place in common_places(wanted, line)}):
            if left[wanted[place]] > 0:
                left[wanted[place]] -= 1
                matches += 1
    return matches
