"""Answers the questions of docs/export.md from an exported folder: python export.py DOC FOLDER ENDING.

The SQL is the documentation's own. Prints a JSON object: "answers", a list of rows for each question, and "counts", the rows of each table.
"""

import json
import os
import re
import sys

import duckdb


def rows(sql):
    result = duckdb.sql(sql)
    return [dict(zip(result.columns, row)) for row in result.fetchall()]


page, folder, ending = sys.argv[1:]
with open(page, encoding="utf-8") as file:
    questions = re.findall(r"^```sql\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
os.chdir(folder)
answers = [rows(question.replace(".parquet'", f".{ending}'")) for question in questions]
counts = {table: rows(f"SELECT count(*) AS n FROM '{table}.{ending}'")[0]["n"] for table in ("decisions", "entries", "runs")}
json.dump({"answers": answers, "counts": counts}, sys.stdout, default=str)
