from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from lt_trainer.data.labels import encode_labels, label_names_of
from lt_trainer.data.readers import read_rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


ROWS = [{"text": "a good film", "label": "pos"}, {"text": "a bad film", "label": "neg"}]


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label\na good film,pos\na bad film,neg\n"),
        ("rows.tsv", "text\tlabel\na good film\tpos\na bad film\tneg\n"),
        ("rows.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("rows.ndjson", "\n\n".join(map(json.dumps, ROWS)) + "\n"),
        ("lines.json", "\n".join(map(json.dumps, ROWS))),
        ("list.json", json.dumps(ROWS, indent=2)),
        ("ROWS.CSV", "text,label\r\na good film,pos\r\na bad film,neg\r\n"),
    ],
)
def test_each_format_gives_the_same_rows(write, name, content):
    assert read_rows(write(name, content), text_columns=["text"], label_column="label").to_list() == ROWS


def test_parquet_gives_the_same_rows(tmp_path):
    Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet", text_columns=["text"], label_column="label").to_list() == ROWS


def test_csv_text_may_hold_commas_quotes_and_line_ends(write):
    path = write("rows.csv", 'text,label\n"good, he said ""very""\nindeed",1\n')
    assert read_rows(path)["text"][0] == 'good, he said "very"\nindeed'


def test_tsv_has_no_quotes(write):
    path = write("rows.tsv", 'text\tlabel\nthe "best" film\t1\n"half a quote\t0\n')
    assert list(read_rows(path)["text"]) == ['the "best" film', '"half a quote']


def test_column_names_stand_in_for_a_header(write):
    rows = read_rows(write("rows.tsv", "a good film\t1\na bad film\t0\n"), column_names=["text", "label"])
    assert rows.to_list() == [{"text": "a good film", "label": "1"}, {"text": "a bad film", "label": "0"}]


def test_a_byte_order_mark_is_no_part_of_the_first_column(write):
    assert read_rows(write("rows.csv", b"\xef\xbb\xbftext,label\nx,1\n")).column_names == ["text", "label"]


def test_a_key_that_some_json_rows_lack_is_none_there(write):
    rows = read_rows(write("rows.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": 1, "source": "web"}\n'))
    assert list(rows["source"]) == [None, "web"]


# --- what can be wrong with a file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "rows.csv holds no rows"),
        ("rows.csv", "text,label\n", "rows.csv holds no rows"),
        ("rows.jsonl", "\n\n", "rows.jsonl holds no rows"),
        ("rows.xlsx", "x", r"ends in '.xlsx': expected .csv, .tsv, .jsonl \(JSON lines\), .json or .parquet"),
        ("rows.csv", b"text,label\nfine,1\ncaf\xe9,0\n", r"rows.csv:3: byte b'\\xe9' at column 4 is not UTF-8"),
        (
            "rows.csv",
            "text,label\nfine,1\none,two,three\n",
            r"rows.csv:3: expected 2 columns, .*received 3; put double",
        ),
        ("rows.csv", 'text,label\nfine,1\n"open,2\nmore,1\n', r"rows.csv:3: unexpected end of data: a quote"),
        ("rows.csv", "text,text\nfine,1\n", r"rows.csv:1: two columns of the header have one name"),
        (
            "rows.tsv",
            "text\tlabel\nno tab\n",
            r"rows.tsv:2: expected 2 columns, .*received 1; separate the columns by single tabs",
        ),
        ("rows.jsonl", '{"text": "a", "label": 0}\n{"text": "b"\n', r"""rows.jsonl:2: .*received '\{"text": "b"'"""),
        ("rows.jsonl", '{"text": "a", "label": 0}\n[1]\n', r"rows.jsonl:2: expected a JSON object .*received \[1\]"),
        ("rows.json", '[{"text": "a", "label": 0}, 7]', r"rows.json, row 2: expected a JSON object .*received 7"),
        ("rows.jsonl", "[" * 100_000, r"rows.jsonl:1: expected a JSON object"),
        (
            "rows.jsonl",
            '{"text": "a", "label": 0}\n{"text": "b", "label": "x"}\n',
            r"rows.jsonl:2: column 'label' held",
        ),
        ("rows.parquet", "PAR1 and no more", r"rows.parquet is not a Parquet file"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(name, content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv': no such file .*: correct the name"):
        read_rows(tmp_path / "nowhere.csv")


def test_a_mistyped_file_is_answered_with_the_nearest(write):
    path = write("reviews.csv", "text,label\nfine,1\n")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'reviews.csv'\?"):
        read_rows(path.with_name("review.csv"))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder: expected a file"):
        read_rows(tmp_path)


@pytest.mark.parametrize(("what", "column"), [("text", "review"), ("label", "stars")])
def test_a_missing_column_is_named_beside_those_that_are_there(write, what, column):
    path = write("rows.csv", "text,label\nfine,1\n")
    asked = {"text_columns": [column]} if what == "text" else {"label_column": column}
    with pytest.raises(
        ValueError, match=rf"{what} column '{column}' is not there: expected one of \['text', 'label'\]"
    ):
        read_rows(path, **asked)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "text,label\nfine,1\n  ,0\n", r"rows.csv:3: expected text in column 'text', received '  '"),
        ("rows.csv", 'text,label\n"two\nlines",1\n,0\n', r"rows.csv:4: expected text in column 'text', received ''"),
        ("rows.csv", "text,label\nfine,\n", r"rows.csv:2: expected a label in column 'label', received nothing"),
        ("rows.jsonl", '{"text": 3, "label": 0}\n', r"rows.jsonl:1: expected text in column 'text', received 3"),
        ("rows.jsonl", '{"text": "a", "label": 0}\n\n{"label": 0}\n', r"rows.jsonl:3: .* received nothing"),
    ],
)
def test_a_row_without_text_or_label_is_named_with_its_line(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(name, content), text_columns=["text"], label_column="label")


def test_a_parquet_row_without_text_is_named_with_its_number(tmp_path):
    Dataset.from_dict({"text": ["a", None], "label": [0, 1]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows.parquet, row 2: expected text in column 'text', received nothing"):
        read_rows(tmp_path / "rows.parquet", text_columns=["text"])


# --- labels -----------------------------------------------------------------------------------------------------------


def labelled(values: list) -> Dataset:
    return Dataset.from_dict({"label": values})


@pytest.mark.parametrize(
    ("splits", "names"),
    [
        ([["pos", "neg", "pos"]], ["neg", "pos"]),
        ([["pos"], ["neg"], ["so so"]], ["neg", "pos", "so so"]),
        ([[0, 2, 1]], ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ([["0", "2"]], ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ([["1", "b"]], ["1", "b"]),
        ([[True, False]], ["False", "True"]),
    ],
)
def test_classes_follow_from_the_labels_of_all_splits(splits, names):
    assert label_names_of(map(labelled, splits), "label") == names


def test_declared_names_keep_their_order():
    features = Features({"label": ClassLabel(names=["pos", "neg"])})
    rows = Dataset.from_dict({"label": [1, 1]}, features=features)
    assert label_names_of([rows], "label") == ["pos", "neg"]


def test_splits_that_declare_different_names_are_refused():
    splits = [
        Dataset.from_dict({"label": [0]}, features=Features({"label": ClassLabel(names=names)}))
        for names in (["a", "b"], ["b", "a"])
    ]
    with pytest.raises(ValueError, match="differently"):
        label_names_of(splits, "label")


def test_one_class_is_no_classification():
    with pytest.raises(ValueError, match=r"holds \[\"'pos'\"\]: expected two classes or more"):
        label_names_of([labelled(["pos", "pos"])], "label")


def test_no_label_column_lists_the_columns():
    with pytest.raises(ValueError, match=r"'stars' is not there: expected one of \['label'\]"):
        label_names_of([labelled(["pos"])], "stars")


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        (["pos", "neg"], ["neg", "pos"], [1, 0]),
        ([1, 0, 2], ["a", "b", "c"], [1, 0, 2]),
        (["1", "0"], ["neg", "pos"], [1, 0]),
        (["2", "1"], ["1", "2"], [1, 0]),  # a name goes before a number
        ([True, False], ["False", "True"], [1, 0]),
    ],
)
def test_labels_become_class_numbers(values, names, ids):
    encoded = encode_labels(labelled(values), "label", names)
    assert list(encoded["labels"]) == ids
    assert encoded.features["labels"] == Value("int64")


def test_a_column_that_is_called_labels_is_replaced():
    rows = Dataset.from_dict({"labels": ["pos", "neg"]})
    assert encode_labels(rows, "labels", ["neg", "pos"]).to_dict() == {"labels": [1, 0]}


@pytest.mark.parametrize("value", ["good", 2, -1, None])
def test_an_unknown_label_is_named_with_its_row(value):
    rows = Dataset.from_dict({"label": ["neg" if isinstance(value, str) else 0, value]})
    with pytest.raises(
        ValueError, match=r"row 1 has label .*: expected a number from 0 to 1, or one of the names 'neg'"
    ):
        encode_labels(rows, "label", ["neg", "pos"])


def test_rows_without_labels_pass_where_none_are_required():
    rows = Dataset.from_dict({"text": ["a"]})
    assert encode_labels(rows, "label", ["neg", "pos"], required=False) is rows
    with pytest.raises(ValueError, match=r"'label' is not there: expected one of \['text'\]"):
        encode_labels(rows, "label", ["neg", "pos"])


def test_sst2_reads_without_a_header(shared_data):
    rows = read_rows(
        shared_data / "sst2" / "dev.tsv",
        text_columns=["sentence"],
        label_column="positive",
        column_names=["sentence", "positive"],
    )
    assert len(rows) == len((shared_data / "sst2" / "dev.tsv").read_text().splitlines())
    assert label_names_of([rows], "positive") == ["LABEL_0", "LABEL_1"]
