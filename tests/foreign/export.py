"""Reads files of an export by other means than Linktide's: DuckDB and Arrow's own readers, which must agree.

usage: export.py FORMAT FILE...
Prints a JSON array of rows, each [click_id, link_id, clicked_at in ms, preview, language, utm_campaign, bot_reason].
"""

import json
import sys

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc
import pyarrow.json as pajson
import pyarrow.parquet as pq

COLUMNS = ["click_id", "link_id", "clicked_at", "preview", "language", "utm_campaign", "bot_reason"]
QUERY = """SELECT click_id::VARCHAR, link_id::VARCHAR, epoch_ms(clicked_at::TIMESTAMPTZ), preview::BOOLEAN,
                  nullif(language, ''), nullif(utm_campaign, ''), nullif(bot_reason, '') FROM {} ORDER BY 1"""


def by_duckdb(form, file):
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    if form == "arrow":
        with pa.OSFile(file, "rb") as source:
            database.register("t", pa.ipc.open_stream(source).read_all())
        place = "t"
    else:
        place = {"csv": "read_csv('{}', all_varchar=true)", "ndjson": "read_json('{}', format='newline_delimited')", "parquet": "read_parquet('{}')"}[form].format(file)
    return [list(row) for row in database.execute(QUERY.format(place)).fetchall()]


def by_arrow(form, file):
    if form == "csv":
        kinds = {name: pa.string() for name in COLUMNS if name not in ("clicked_at", "preview")}
        table = pacsv.read_csv(file, convert_options=pacsv.ConvertOptions(column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False))
    elif form == "ndjson":
        table = pajson.read_json(file)
    elif form == "parquet":
        table = pq.read_table(file)
    else:
        with pa.OSFile(file, "rb") as source:
            table = pa.ipc.open_stream(source).read_all()
    rows = table.select(COLUMNS).to_pylist()

    def shown(row):
        at = row["clicked_at"]
        at = at if hasattr(at, "timestamp") else __import__("datetime").datetime.fromisoformat(at)
        at = at if at.tzinfo else at.replace(tzinfo=__import__("datetime").timezone.utc)
        texts = [row[name] or None for name in ("language", "utm_campaign", "bot_reason")]
        return [row["click_id"], str(row["link_id"]), round(at.timestamp() * 1000), row["preview"], *texts]

    return sorted(shown(row) for row in rows)


def main():
    form, *files = sys.argv[1:]
    rows = []
    for file in files:
        one, other = by_duckdb(form, file), by_arrow(form, file)
        assert one == other, (file, next(pair for pair in zip(one, other) if pair[0] != pair[1]) if len(one) == len(other) else (len(one), len(other)))
        rows += one
    json.dump(rows, sys.stdout)


main()
