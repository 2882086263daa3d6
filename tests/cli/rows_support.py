"""Rows for files, and what was said of them."""

import csv
import io
import json

VERSION = {"external_identifier": "v1", "name": "Nightly"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def named(count):
    return lines(*({"external_identifier": f"n-{number}"} for number in range(count)))


def last_words(path):
    return {line["index"]: line for line in map(json.loads, path.read_text().splitlines())}


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def table(*rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
