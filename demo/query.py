"""Asks DuckDB the blog's questions over the objects that the simulator delivered.

Reads every object below --objects as the README's `csv` dialect, keeps one line for each
(position, ordinal), and runs the statements of --sql, which MySQL runs too. Prints one JSON object.

What does not live here: MySQL's answers and the comparison, which are demo/main.rs.
"""

import argparse
import json
import pathlib

import duckdb

# The followed columns, then the metadata columns, in the order in which they are written.
COLUMNS = {
    "ItemID": "INTEGER",
    "Category": "VARCHAR",
    "Price": "DECIMAL(10,2)",
    "Quantity": "INTEGER",
    "OrderDate": "TIMESTAMP",
    "DestinationState": "VARCHAR",
    "ShippingType": "VARCHAR",
    "Referral": "VARCHAR",
    "position": "VARCHAR",
    "ordinal": "UBIGINT",
}

READ_OBJECTS = f"""
CREATE TABLE delivered AS
FROM read_csv(getvariable('objects'), columns = {COLUMNS}, auto_detect = false, header = false,
              delim = ',', quote = '"', escape = '"', new_line = '\\n',
              nullstr = '', allow_quoted_nulls = false);
"""

# A row that was delivered twice is the same row: (position, ordinal) says so.
DEDUPLICATE = """
CREATE TABLE Sales AS
SELECT DISTINCT ON (position, ordinal) * EXCLUDE (position, ordinal) FROM delivered;
"""

QUESTIONS = ["total_sales_by_season", "total_sales_by_day_of_week", "sales_as_text"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=pathlib.Path, required=True)
    parser.add_argument("--sql", type=pathlib.Path, required=True)
    options = parser.parse_args()

    db = duckdb.connect()
    db.execute("SET VARIABLE objects = ?", [f"{options.objects}/**/*.gz"])
    db.execute(READ_OBJECTS)
    db.execute(DEDUPLICATE)
    db.execute((options.sql / "date_dimension.sql").read_text())

    def count(query):
        return db.execute(query).fetchone()[0]

    answers = {
        question: [
            [str(value) for value in row]
            for row in db.execute((options.sql / f"{question}.sql").read_text()).fetchall()
        ]
        for question in QUESTIONS
    }
    report = {
        "duckdb": duckdb.__version__,
        "lines": count("SELECT count(*) FROM delivered"),
        "distinct_lines": count("SELECT count(*) FROM (SELECT DISTINCT * FROM delivered)"),
        "rows": count("SELECT count(*) FROM Sales"),
        "answers": answers,
    }
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
