"""Reads a table of the lake as it lies in the bucket, by other means than Linktide's.

The table's log is replayed here by hand from its JSON commits, and must name the same files that the package of another
engine finds; rows are decoded by Arrow's C++ reader and asked for in DuckDB's SQL, as the table `t`.

usage: read.py ENDPOINT BUCKET PREFIX TABLE VERSION QUERY
Keys are those of the environment. Prints a JSON array of rows.
"""

import json
import sys
from urllib.parse import unquote

import boto3
import duckdb
from deltalake import DeltaTable


def active_files(s3, bucket, folder, version):
    """What the commits up to a version add and do not remove; refuses what a plain reader could not read."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/_delta_log/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    commits = {int(key[-25:-5]): key for key in keys if key.endswith(".json") and key[-25:-5].isdigit()}
    assert set(range(version + 1)) <= set(commits), "the log has gaps"
    files = set()
    for number in range(version + 1):
        body = s3.get_object(Bucket=bucket, Key=commits[number])["Body"].read()
        for line in body.splitlines():
            action = json.loads(line)
            if "protocol" in action:
                assert action["protocol"]["minReaderVersion"] == 1, action
            if "add" in action:
                assert not action["add"].get("deletionVector"), action
                files.add(unquote(action["add"]["path"]))
            if "remove" in action:
                files.discard(unquote(action["remove"]["path"]))
    return files


def main():
    endpoint, bucket, prefix, name, version, query = sys.argv[1:]
    version, folder = int(version), f"{prefix}/tables/{name}"
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    table = DeltaTable(f"s3://{bucket}/{folder}", version=version, storage_options=options)
    replayed, found = active_files(s3, bucket, folder, version), table.file_uris()
    assert {f"s3://{bucket}/{folder}/{path}" for path in replayed} == {unquote(uri) for uri in found}, (replayed, found)
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.register("t", table.to_pyarrow_dataset())
    rows = database.execute(query).fetchall()
    json.dump(rows, sys.stdout, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))


main()
