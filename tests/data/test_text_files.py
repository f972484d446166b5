from __future__ import annotations

import json

import pytest

from lt_trainer.data.readers import read_rows


@pytest.fixture
def write(tmp_path):
    def put(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def test_a_text_file_has_a_row_for_each_line_that_is_not_blank(write):
    assert read_rows(write("a.txt", "one \n\n  \ntwo\r\n"))["text"][:] == ["one ", "two"]


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.bio"])
def test_sentences_are_words_and_tags_between_empty_lines(write, name):
    rows = read_rows(write(name, "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"))
    assert rows.to_dict() == {"words": [["EU", "rejects"], ["Peter"]], "tags": [["B-ORG", "O"], ["B-PER"]]}


def test_a_line_of_a_byte_order_mark_alone_ends_a_sentence(write):
    assert read_rows(write("a.conll", "a\tO\n\ufeff\nb\tO\n"))["words"][:] == [["a"], ["b"]]


def test_a_word_may_be_a_hash_and_a_comment_is_none(write):
    rows = read_rows(write("a.conll", "# sent_id = 1\n#\tO\n#tag\tB-X\n# text = of the second\n"))
    assert rows.to_dict() == {"words": [["#", "#tag"]], "tags": [["O", "B-X"]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a\tO\nb\tX\tO\n",
            r"a.conll:2: expected 2 columns, a word first and its tag last, received \['b', 'X', 'O'\]",
        ),
        ("a O\nb\n", r"a.conll:2: expected 2 columns, .*received \['b'\]"),
        ("alone\n", r"a.conll:1: expected 2 columns"),
        (b"a\tO\ncaf\xe9\tO\n", r"a.conll:2: byte b'\\xe9' at column 4 is not UTF-8"),
        ("\n\n", "a.conll holds no rows"),
    ],
)
def test_a_broken_line_is_named(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write("a.conll", content))


ANSWER = {"text": "Rome", "answer_start": 3}
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Cities",
            "paragraphs": [
                {
                    "context": "In Rome.",
                    "qas": [
                        {"id": "q1", "question": "Where?", "answers": [ANSWER]},
                        {"id": "q2", "question": "When?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_squad_file_has_a_row_for_each_question(write, indent):
    rows = read_rows(write("a.json", json.dumps(SQUAD, indent=indent)))
    assert rows[0] == {
        "id": "q1",
        "title": "Cities",
        "context": "In Rome.",
        "question": "Where?",
        "answers": {"text": ["Rome"], "answer_start": [3]},
    }
    assert rows[1]["answers"] == {"text": [], "answer_start": []}


def test_a_squad_file_without_a_context_is_told_of(write):
    broken = {"data": [{"paragraphs": [{"qas": []}]}]}
    with pytest.raises(ValueError, match=r"a.json, question 0: expected 'context', as SQuAD's files have it"):
        read_rows(write("a.json", json.dumps(broken)))


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_may_lie_under_data(write, indent):
    rows = read_rows(write("a.json", json.dumps({"data": [{"text": "a"}, {"text": "b"}]}, indent=indent)))
    assert rows["text"][:] == ["a", "b"]


def test_an_object_without_rows_lists_what_it_has(write):
    with pytest.raises(ValueError, match=r"a.json: expected a list of rows, .*received an object with \['rows'\]"):
        read_rows(write("a.json", '{\n"rows": []\n}'))
