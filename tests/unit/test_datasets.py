"""Files of labelled texts are read as they are meant, and refused with the line that is wrong."""

import hashlib
from pathlib import Path

import pytest
from trident.datasets import Dataset, Example, read_dataset
from trident.errors import DataError

ROOT = Path(__file__).parents[2]
# Enough of both labels, so that a row under test is what decides.
PAIRS = [("ham", "hello one"), ("ham", "hello two"), ("ham", "hello three")]
PAIRS += [("spam", "free one"), ("spam", "free two"), ("spam", "free three")]
TSV = "".join(f"{label}\t{text}\n" for label, text in [("label", "text"), *PAIRS])
CSV = TSV.replace("\t", ",")
JSONL = "".join(f'{{"label": "{label}", "text": "{text}"}}\n' for label, text in PAIRS)
EXAMPLES = [Example(text, label) for label, text in PAIRS]


def read(path: Path, content: str | bytes, skip_bad_rows: bool = False) -> Dataset:
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return read_dataset(path, text_column="text", label_column="label", skip_bad_rows=skip_bad_rows)


def refusal(path: Path, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(path, content)
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "content"), [(".tsv", TSV), (".csv", CSV), (".jsonl", JSONL)])
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_each_format_gives_the_same_examples(tmp_path: Path, suffix: str, content: str, bom: str, newline: str) -> None:
    raw = (bom + content).replace("\n", newline).encode()
    digest = hashlib.sha256(raw).hexdigest()
    assert read(tmp_path / f"data{suffix}", raw) == Dataset(EXAMPLES, ["ham", "spam"], 6, 0, 0, 0, digest)


def test_the_last_line_needs_no_line_break(tmp_path: Path) -> None:
    assert read(tmp_path / "data.tsv", TSV.removesuffix("\n")).examples == EXAMPLES


@pytest.mark.parametrize(("suffix", "content"), [(".tsv", TSV), (".csv", CSV), (".jsonl", JSONL)])
def test_blank_lines_are_no_rows(tmp_path: Path, suffix: str, content: str) -> None:
    dataset = read(tmp_path / f"data{suffix}", content + "\n\r\n")
    assert (dataset.rows, dataset.bad_rows) == (6, 0)


def test_tsv_takes_quotes_as_they_stand(tmp_path: Path) -> None:
    assert Example('"free', "spam") in read(tmp_path / "data.tsv", TSV + 'spam\t"free\n').examples


def test_csv_unquotes_and_keeps_line_breaks_inside_quotes(tmp_path: Path) -> None:
    dataset = read(tmp_path / "data.csv", CSV + 'spam,"say ""free"",\nnow"\n')
    assert dataset.examples[-1] == Example('say "free",\nnow', "spam")


def test_columns_are_found_by_name_wherever_they_stand(tmp_path: Path) -> None:
    lines = "".join(f"{number}\t{text}\t{label}\n" for number, (label, text) in enumerate(PAIRS))
    path = tmp_path / "data.tsv"
    path.write_text("id\tmessage\tkind\n" + lines, encoding="utf-8")
    dataset = read_dataset(path, text_column="message", label_column="kind", skip_bad_rows=False)
    assert dataset.examples == EXAMPLES


def test_white_space_around_a_label_is_no_part_of_it(tmp_path: Path) -> None:
    assert read(tmp_path / "data.tsv", TSV + " spam \tfree four\n").labels == ["ham", "spam"]


@pytest.mark.parametrize(
    ("suffix", "row", "reason"),
    [
        (".tsv", "spam\n", "line 8: 1 columns, expected 2"),
        (".tsv", "spam\tfree\tprize\n", "line 8: 3 columns, expected 2"),
        (".tsv", b"spam\tcaf\xe9\n", "line 8: not UTF-8"),
        (".tsv", b"sp\xe4m\tfree\n", "line 8: not UTF-8"),
        (".tsv", "spam\t \u00a0\n", "line 8: the text is empty"),
        (".tsv", "spam\t\x00\x07\n", "line 8: the text is empty"),
        (".tsv", " \tfree\n", "line 8: the label is empty"),
        (".tsv", "sp\u200bam\tfree\n", "line 8: the label 'sp\\u200bam' holds a control character"),
        (".tsv", "\x1b[31mspam\tfree\n", "line 8: the label '\\x1b[31mspam' holds a control character"),
        (".csv", "spam,free,prize\n", "line 8: 3 columns, expected 2"),
        (".csv", 'spam,"free\nspam,prize\n', "line 9: not CSV: unexpected end of data (is a quote left open?)"),
        (".csv", 'spam,"free"prize\n', "line 8: not CSV: ',' expected after '\"' (is a quote left open?)"),
        (".csv", '"sp\nam",free\n', "line 9: the label holds a line break"),
        (".jsonl", '{"label": "spam"\n', "line 7: not JSON: Expecting ',' delimiter: line 2 column 1 (char 17)"),
        (".jsonl", '["spam", "free"]\n', "line 7: expected an object with strings 'text' and 'label'"),
        (".jsonl", '{"label": 1, "text": "free"}\n', "line 7: expected an object with strings 'text' and 'label'"),
        (".jsonl", '{"label": "spam"}\n', "line 7: expected an object with strings 'text' and 'label'"),
        (".jsonl", '{"label": "spam", "text": "\\ud800"}\n', "line 7: not UTF-8"),
        (".jsonl", '{"label": "sp\\nam", "text": "free"}\n', "line 7: the label holds a line break"),
    ],
)
def test_a_bad_row_is_named_by_line_and_reason(tmp_path: Path, suffix: str, row: str | bytes, reason: str) -> None:
    path = tmp_path / f"data{suffix}"
    good = {".tsv": TSV, ".csv": CSV, ".jsonl": JSONL}[suffix].encode()
    content = good + (row.encode() if isinstance(row, str) else row)
    assert refusal(path, content) == f"{path} has 1 bad rows: {reason}. Mend them, or go on with --skip-bad-rows."
    skipped = read(path, content, skip_bad_rows=True)
    assert (skipped.examples, skipped.rows, skipped.bad_rows) == (EXAMPLES, 7, 1)


def test_a_label_with_a_carriage_return_is_refused(tmp_path: Path) -> None:
    """labels.txt is read with universal newlines, so such a label would become two."""
    refused = refusal(tmp_path / "data.jsonl", JSONL + '{"label": "sp\\ram", "text": "free"}\n')
    assert "line 7: the label holds a line break" in refused


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 9999 + "]" * 9999], ids=["huge number", "deep nesting"])
def test_json_that_python_refuses_to_read_is_a_bad_row(tmp_path: Path, value: str) -> None:
    assert "line 7: not JSON: " in refusal(tmp_path / "data.jsonl", JSONL + f'{{"text": {value}}}\n')


def test_a_csv_header_that_is_not_csv_is_called_that(tmp_path: Path) -> None:
    assert "not CSV: unexpected end of data (is a quote left open?)" in refusal(
        tmp_path / "data.csv", '"label,text\nham,hello\n'
    )


def test_nul_bytes_are_left_to_the_preprocessor(tmp_path: Path) -> None:
    assert read(tmp_path / "data.tsv", TSV + "spam\tfr\x00ee\n").examples[-1] == Example("fr\x00ee", "spam")


def test_only_the_first_bad_rows_are_shown(tmp_path: Path) -> None:
    message = refusal(tmp_path / "data.tsv", TSV + "bad\n" * 7)
    assert " has 7 bad rows: line 8: " in message
    assert "line 12: 1 columns, expected 2; and 2 more. Mend them" in message
    assert "line 13" not in message


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    expected = f"{path} has no column 'text'; its first line names ['label', 'message']. "
    assert refusal(path, "label\tmessage\n") == expected + "Use --text-column and --label-column."


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_an_empty_file_has_no_columns(tmp_path: Path, suffix: str) -> None:
    assert "has no column 'text'; its first line names []" in refusal(tmp_path / f"data{suffix}", "")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.xlsx"
    assert refusal(path, TSV) == f"{path} ends in '.xlsx'; expected one of .tsv, .csv, .jsonl"


@pytest.mark.parametrize("name", ["missing.tsv", "."], ids=["missing", "folder"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"no file .*; expected a \.tsv, \.csv or \.jsonl with the columns label"):
        read_dataset(tmp_path / name, text_column="text", label_column="label", skip_bad_rows=False)


def test_a_duplicate_in_other_case_or_white_space_is_left_out(tmp_path: Path) -> None:
    dataset = read(tmp_path / "data.tsv", TSV + "spam\tFREE  one \nspam\tfr\x00ee one\n")
    assert (dataset.examples, dataset.rows, dataset.duplicates) == (EXAMPLES, 8, 2)


def test_a_text_with_two_labels_is_left_out_altogether(tmp_path: Path) -> None:
    dataset = read(tmp_path / "data.tsv", TSV + "spam\tfree four\nham\tFree four\nspam\tfree four\n")
    assert (dataset.examples, dataset.contradictions, dataset.duplicates) == (EXAMPLES, 3, 0)


def test_one_label_is_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    content = "label\ttext\nham\ta\nham\tb\nham\tc\n"
    assert refusal(path, content) == f"{path} has the labels ['ham']; expected at least two"


def test_a_label_needs_three_different_texts(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    expected = f"{path} has too few different texts for {{'rare': 2}}; each label needs 3: "
    assert refusal(path, TSV + "rare\ta\nrare\tb\nrare\tA\n") == expected + "to train, to stop early, to measure"


def test_of_many_rare_labels_the_first_are_shown(tmp_path: Path) -> None:
    """As of a column that is not the labels', with a value of its own in every row."""
    path = tmp_path / "data.tsv"
    rows = "".join(f"label {number:05}\ttext {number}\n" for number in range(20_000))
    few = ", ".join(f"'label {number:05}': 1" for number in range(5))
    needed = "each label needs 3: to train, to stop early, to measure"
    assert refusal(path, TSV + rows) == (
        f"{path} has too few different texts for {{{few}}} and 19995 more labels (is it the right column?); {needed}"
    )


def test_the_real_messages_have_no_bad_row() -> None:
    path = ROOT / "data" / "sms_spam.tsv"
    dataset = read_dataset(path, text_column="text", label_column="label", skip_bad_rows=False)
    assert (dataset.rows, dataset.bad_rows, dataset.labels) == (4666, 0, ["ham", "spam"])
    assert len(dataset.examples) + dataset.duplicates + dataset.contradictions == 4666
