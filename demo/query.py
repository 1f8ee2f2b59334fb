"""Asks DuckDB the blog's questions over the objects that the simulator delivered.

Reads every object as the README's `csv` dialect, keeps one line for each (position, ordinal), and
runs the statements of sql/, which MySQL runs too.

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

QUESTIONS = ["total_sales_by_season", "total_sales_by_day_of_week"]
SQL = pathlib.Path(__file__).resolve().parent.parent / "sql"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("objects", help="the folder that objects were delivered to")
    parser.add_argument("--json", action="store_true", help="everything, for demo/main.rs")
    options = parser.parse_args()

    db = duckdb.connect()
    db.execute("SET VARIABLE objects = ?", [f"{options.objects}/**/*.gz"])
    db.execute(READ_OBJECTS)
    db.execute(DEDUPLICATE)
    db.execute((SQL / "date_dimension.sql").read_text())
    if options.json:
        print(json.dumps(report(db), ensure_ascii=False))
    else:
        for question in QUESTIONS:
            print(db.sql(statement(question)))


def report(db):
    def count(rows):
        return db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]

    def answer(question):
        rows = db.execute(statement(question)).fetchall()
        return [[str(value) for value in row] for row in rows]

    return {
        "duckdb": duckdb.__version__,
        "lines": count("delivered"),
        "distinct_lines": count("(SELECT DISTINCT * FROM delivered)"),
        "rows": count("Sales"),
        "answers": {question: answer(question) for question in [*QUESTIONS, "sales_as_text"]},
    }


def statement(question):
    return (SQL / f"{question}.sql").read_text()


if __name__ == "__main__":
    main()
