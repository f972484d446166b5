from __future__ import annotations

from lt_trainer.data.vocabulary import SPECIAL_TOKENS, sentence_tokenizer, word_vocabulary, write_bert_vocabulary
from lt_trainer.tokenization import AutoTokenizer

TEXTS = ["The tea, the milk.", "The TEA is hot"]


def test_common_words_come_last_and_the_commonest_first_of_them():
    assert word_vocabulary(TEXTS)[-2:] == ["the", "tea"]


def test_special_tokens_have_the_first_ids_and_padding_is_zero():
    assert tuple(word_vocabulary(TEXTS)[:5]) == SPECIAL_TOKENS
    assert word_vocabulary(TEXTS)[0] == "[PAD]"


def test_no_token_stands_twice():
    vocabulary = word_vocabulary([*TEXTS, "a a a I I"])
    assert len(set(vocabulary)) == len(vocabulary)


def test_size_cuts_the_rarest_words():
    assert len(word_vocabulary(TEXTS, size=36)) <= 36
    assert "the" in word_vocabulary(TEXTS, size=len(word_vocabulary(TEXTS)) - 1)


def test_rare_words_are_spelled_and_strange_letters_unknown(tmp_path):
    write_bert_vocabulary(tmp_path, word_vocabulary(TEXTS), model_max_length=16)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("The tea, hot") == ["the", "tea", ",", "h", "##o", "##t"]
    assert tokenizer.tokenize("zebra") == ["[UNK]"]
    assert tokenizer.model_max_length == 16


def test_sentences_come_back_as_they_were_with_an_end_token():
    tokenizer = sentence_tokenizer(["The old dog sees it.", "The old cat sees."])
    ids = tokenizer("The old dog sees a cat.")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == 1
    assert tokenizer.pad_token_id == 0
    assert tokenizer.decode(ids, skip_special_tokens=True) == "The old dog sees a cat."
    assert tokenizer.convert_ids_to_tokens(ids)[:2] == ["▁The", "▁old"]


def test_strange_letters_of_sentences_are_unknown():
    tokenizer = sentence_tokenizer(["The old dog"])
    assert tokenizer.unk_token_id in tokenizer("Ω")["input_ids"]
