"""Reads the objects of each dialect as others do, and prints what it found.

    readers.py DATA PAGE

DATA has a folder of objects for each dialect, and `columns.json` with the columns' names, the first of which
numbers the rows. Prints one JSON object: for each reader its rows in that order, each a list of strings, with
null for NULL. Numbers stay the text that they were.

The readers: DuckDB for all four dialects; Python's csv and json; and Hive's two SerDes, by their rules. What does
not live here: what the rows should be (tests/it/types/readers.rs).
"""

import csv
import glob
import gzip
import json
import re
import sys

import duckdb

csv.field_size_limit(1 << 30)


def main():
    data, page = sys.argv[1:]
    with open(f"{data}/columns.json", encoding="utf-8") as file:
        columns = json.load(file)
    with open(page, encoding="utf-8") as file:
        view = decoding_view(file.read())
    found = {
        "csv by DuckDB": csv_by_duckdb(data, columns),
        "hive by LazySimpleSerDe's rules": [lazy_simple(line) for line in lines(data, "hive")],
        "hive by DuckDB": hive_by_duckdb(data),
        "opencsv by OpenCSVSerDe's rules": [
            [undone(field) for field in open_csv(line)] for line in lines(data, "opencsv")
        ],
        "opencsv by DuckDB and the documented view": opencsv_by_duckdb(data, columns, view),
        "jsonl by Python": [json_line(line, columns) for line in lines(data, "jsonl")],
        "jsonl by DuckDB": jsonl_by_duckdb(data, columns),
    }
    for rows in found.values():
        rows.sort(key=lambda row: int(row[0]))
    check_csv_by_python(data, found["csv by DuckDB"])
    json.dump(found, sys.stdout)


def objects(data, dialect):
    return sorted(glob.glob(f"{data}/{dialect}/**/*.gz", recursive=True))


def text(data, dialect):
    return b"".join(gzip.open(path).read() for path in objects(data, dialect)).decode("utf-8")


def lines(data, dialect):
    """As Hadoop's TextInputFormat splits them: at LF, CR and CRLF."""
    whole = text(data, dialect)
    assert whole.endswith("\n")
    return re.split(r"\r\n|\n|\r", whole)[:-1]


def varchars(columns):
    return {f"c{index}": "VARCHAR" for index in range(len(columns))}


def rows(sql, data, dialect, columns):
    parameters = {"objects": objects(data, dialect), "columns": columns}
    return [list(row) for row in duckdb.execute(sql, parameters).fetchall()]


CSV = r"""read_csv($objects, columns = $columns, auto_detect = false, header = false, delim = ',', quote = '"',
                   escape = '"', new_line = '\n', hive_partitioning = false, """


def csv_by_duckdb(data, columns):
    """The options of the README's quick tour."""
    return rows(f"FROM {CSV} nullstr = '', allow_quoted_nulls = false)", data, "csv", varchars(columns))


def check_csv_by_python(data, expected):
    """Python's csv cannot tell NULL from the empty string."""
    parts = [line + "\n" for line in text(data, "csv").split("\n")[:-1]]
    read = list(csv.reader(parts, strict=True))
    read.sort(key=lambda row: int(row[0]))
    expected = [["" if value is None else value for value in row] for row in expected]
    for number, (left, right) in enumerate(zip(read, expected, strict=True)):
        assert len(left) == len(right), f"row {number}: {len(left)} fields by Python's csv, {len(right)} by DuckDB"
        for column, (one, other) in enumerate(zip(left, right)):
            assert one == other, f"row {number}, column {column}: {one!r} by Python's csv, {other!r} by DuckDB"


def lazy_simple(line):
    """Hive's LazySimpleSerDe with ESCAPED BY '\\\\' and NULL DEFINED AS '\\\\N': fields end at separators that are
    not escaped; NULL is known before escapes are undone; n and r are line breaks then (LazyUtils)."""
    fields = re.findall(r"(?:^|,)((?:[^,\\]|\\.)*)", line, re.DOTALL)
    unescape = {"n": "\n", "r": "\r"}
    return [
        None if field == r"\N" else re.sub(r"\\(.)", lambda it: unescape.get(it[1], it[1]), field, flags=re.DOTALL)
        for field in fields
    ]


def hive_by_duckdb(data):
    sql = r"""
        SELECT list_transform(
            regexp_extract_all(line, '(?:^|,)((?:[^,\\]|\\.)*)', 1, 's'),
            lambda field: CASE WHEN field = '\N' THEN NULL ELSE array_to_string(list_transform(
                regexp_extract_all(field, '\\.|[^\\]+', 0, 's'),
                lambda part: CASE WHEN part = '\n' THEN chr(10) WHEN part = '\r' THEN chr(13)
                    WHEN part[1] = '\' THEN part[2:] ELSE part END), '') END)
        FROM (SELECT unnest(string_split($text, chr(10))) AS line) WHERE line != ''
    """
    return [row[0] for row in duckdb.execute(sql, {"text": text(data, "hive")}).fetchall()]


def open_csv(line):
    """OpenCSVSerDe's parser with the escape character U+0001: quotes open and close, two of them within quotes
    are one; the escape character is dropped, and within quotes keeps a quote or itself behind it."""
    fields, field, quoted, at = [], [], False, 0
    while at < len(line):
        character, following = line[at], line[at + 1 : at + 2]
        if character == "\x01":
            if quoted and following in ("\x01", '"'):
                field.append(following)
                at += 1
        elif character == '"':
            if quoted and following == '"':
                field.append('"')
                at += 1
            else:
                quoted = not quoted
        elif character == "," and not quoted:
            fields.append("".join(field))
            field = []
        else:
            field.append(character)
        at += 1
    assert not quoted
    return [*fields, "".join(field)]


def undone(field):
    if field == r"\N":
        return None
    escapes = {"\\": "\\", "n": "\n", "r": "\r", "1": "\x01"}
    return re.sub(r"\\(.)", lambda it: escapes[it[1]], field)


def decoding_view(page):
    """The documented expression over the column c."""
    expressions = [block for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "translate" in block]
    assert len(expressions) == 1
    return expressions[0]


def opencsv_by_duckdb(data, columns, view):
    names = varchars(columns)
    decoded = ", ".join(view.replace("nullif(c,", f"nullif({name},") for name in names)
    return rows(f"SELECT {decoded} FROM {CSV} nullstr = 'no null')", data, "opencsv", names)


def json_line(line, columns):
    def pairs(members):
        assert [name for name, _ in members] == columns
        return [f"[{','.join(value)}]" if isinstance(value, list) else value for _, value in members]

    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    # Numbers stay text; the only arrays are a VECTOR's.
    return json.loads(line, object_pairs_hook=pairs, parse_constant=no_constant, parse_int=str, parse_float=str)


def jsonl_by_duckdb(data, columns):
    sql = "FROM read_json($objects, columns = $columns, format = 'newline_delimited', hive_partitioning = false)"
    return rows(sql, data, "jsonl", {name: "VARCHAR" for name in columns})


if __name__ == "__main__":
    main()
