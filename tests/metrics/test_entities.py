from __future__ import annotations

import random
import warnings

import pytest

from lt_trainer.metrics.entities import SCHEMES, Entity, EntityScores, entities_of


def test_entities_are_read_as_conll_did():
    tags = ["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG", "O"]
    assert entities_of(tags) == [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5), ("ORG", 5, 6)]


def test_a_scheme_takes_only_what_is_written_by_its_rules():
    assert entities_of(["B-PER", "I-PER", "O", "I-LOC"], "IOB2") == [Entity("PER", 0, 2)]
    assert entities_of(["S-PER", "B-LOC", "I-LOC", "O"], "IOBES") == [Entity("PER", 0, 1)]


def test_counts_by_hand():
    scores = EntityScores()
    scores.add(["B-PER", "O", "B-LOC"], ["B-PER", "O", "B-ORG"])
    scores.add(["O", "O"], ["B-LOC", "O"])
    assert scores.compute() == {"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "accuracy": 3 / 5}
    assert scores.by_type()["LOC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 1}


def test_nothing_is_zero():
    assert EntityScores().compute() == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "accuracy": 0.0}


def sentences(letters, chance, count=400):
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("PER", "LOC", "A-B"))]
    return [[chance.choice(tags) for _ in range(chance.randrange(1, 12))] for _ in range(count)]


def pairs(letters, seed=0):
    chance = random.Random(seed)
    gold = sentences(letters, chance)
    predicted = [[tag if chance.random() < 0.7 else chance.choice(row) for tag in row] for row in gold]
    return predicted, gold


def counted(predicted, gold, scheme=None):
    scores = EntityScores(scheme)
    for row in zip(predicted, gold, strict=True):
        scores.add(*row)
    return scores


@pytest.mark.parametrize("letters", ["BI", "IE", "BIES", "BILU", "B", "I", "ES"])
def test_default_scores_are_those_of_seqeval(letters):
    metrics = pytest.importorskip("seqeval.metrics")
    predicted, gold = pairs(letters)
    found = counted(predicted, gold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "precision": metrics.precision_score(gold, predicted),
            "recall": metrics.recall_score(gold, predicted),
            "f1": metrics.f1_score(gold, predicted),
            "accuracy": metrics.accuracy_score(gold, predicted),
        }
        precision, recall, f1, number = metrics.sequence_labeling.precision_recall_fscore_support(
            gold, predicted, average=None
        )
    assert found.compute() == pytest.approx(expected, abs=1e-12)
    for row, kind in enumerate(found.by_type().values()):
        assert list(kind.values()) == pytest.approx([precision[row], recall[row], f1[row], number[row]], abs=1e-12)


@pytest.mark.parametrize("name", SCHEMES)
def test_strict_scores_are_those_of_seqeval(name):
    metrics = pytest.importorskip("seqeval.metrics")
    import seqeval.scheme

    scheme = getattr(seqeval.scheme, name)
    predicted, gold = pairs(SCHEMES[name].letters.replace("O", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            part: getattr(metrics, f"{part}_score")(gold, predicted, mode="strict", scheme=scheme)
            for part in ("precision", "recall", "f1")
        }
    found = counted(predicted, gold, name)
    assert {part: found.compute()[part] for part in expected} == pytest.approx(expected, abs=1e-12)
    read = seqeval.scheme.Entities(predicted, scheme).entities
    assert [entities_of(tags, name) for tags in predicted] == [[(e.tag, e.start, e.end) for e in row] for row in read]


def test_processes_add_up():
    predicted, gold = pairs("BI")
    whole = counted(predicted, gold)
    first, second = counted(predicted[:150], gold[:150]), counted(predicted[150:], gold[150:])
    first.merge(second.state())
    assert first.compute() == whole.compute()
    assert first.by_type() == whole.by_type()


def test_what_is_held_does_not_grow():
    predicted, gold = pairs("BI")
    once, often = counted(predicted, gold), counted(predicted * 5, gold * 5)
    assert len(repr(once.state())) <= len(repr(often.state())) < 1.2 * len(repr(once.state())) + 20
    assert often.compute() == once.compute()


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="scheme='IOB': expected one of IOB1, IOB2"):
        EntityScores("IOB")
    with pytest.raises(ValueError, match="expected a predicted tag for each of 2 words, received 1"):
        EntityScores().add(["O"], ["O", "O"])
    with pytest.raises(ValueError, match="tag 'S-PER': expected one that begins with I, O, B"):
        entities_of(["S-PER"], "IOB2")
