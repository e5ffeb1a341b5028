"""The same dashboards by other engines: `peers.py duckdb|clickhouse|mariadb QUESTIONS`.

QUESTIONS is a JSON file: the lake, a folder to keep things in, the tenant, the range in hours since 1970, what is broken
down, and the links. DuckDB and ClickHouse (chdb) read the very files of the rollups. MariaDB has the classic tables, filled
from them once: a row for each link and hour, and one for each link, dimension, day and value, under their primary keys;
it answers a dashboard in one round trip. Printed is one JSON object: milliseconds by link, first and again, and answers.
"""

import glob
import json
import os
import socket
import subprocess
import sys
import time

THREADS = 2
QUARTERS = ("00", "15", "30", "45")
COUNTS = ", ".join(
    f"{' + '.join(f'{kind}_{quarter}' for quarter in QUARTERS)} as {kind}" for kind in ("clicks", "bots", "previews")
)


class Files:
    """An engine that reads the files of the rollups in place."""

    def __init__(self, asked):
        self.asked = asked
        self.first, self.last = (hour * 3600 for hour in asked["hours"])

    def files(self, table):
        # As a reader of the table's log would: no file that holds none of the days.
        found = (line.split("\t") for line in self.asked["files"][table])
        return [path for path, start, end in found if int(start) * 86400 < self.last and self.first < int(end) * 86400]


class DuckDB(Files):
    def __init__(self, asked):
        import duckdb

        super().__init__(asked)
        self.connection = duckdb.connect()
        for setting in (f"threads = {THREADS}", "timezone = 'UTC'", "parquet_metadata_cache = true"):
            try:
                self.connection.execute(f"set {setting}")
            except duckdb.Error as error:
                print(f"{setting}: {error}", file=sys.stderr)

    def source(self, table):
        return f"read_parquet({self.files(table)!r}, hive_partitioning = false)"

    def ask(self, link):
        tenant = self.asked["tenant"]
        owner = f"tenant_id = {tenant} and link_id = {link}"
        hours = self.connection.execute(
            f"""select epoch(hour_bucket)::bigint // 3600, {COUNTS} from {self.source('link_stats_hourly')}
                where {owner} and hour_bucket >= to_timestamp({self.first}) and hour_bucket < to_timestamp({self.last})"""
        ).fetchall()
        by = {}
        for dimension in self.asked["by"]:
            by[dimension] = self.connection.execute(
                f"""select value, sum(click_count)::bigint, sum(bot_count)::bigint from {self.source('link_stats_dimension')}
                    where {owner} and dimension = '{dimension}' and day_bucket >= to_timestamp({self.first})::date
                      and day_bucket < to_timestamp({self.last})::date group by value"""
            ).fetchall()
        self.connection.execute(
            f"""select sum(unique_ips) from {self.source('link_stats_daily')}
                where {owner} and day_bucket >= to_timestamp({self.first})::date and day_bucket < to_timestamp({self.last})::date"""
        ).fetchall()
        return {"hours": [list(row) for row in hours], "by": by}


class ClickHouse(Files):
    def __init__(self, asked):
        from chdb import session

        super().__init__(asked)
        self.session = session.Session()
        self.session.query(f"set max_threads = {THREADS}")

    def source(self, table):
        files = self.files(table)
        root = os.path.commonpath([os.path.dirname(file) for file in files])
        return f"file('{root}/{{{','.join(os.path.relpath(file, root) for file in files)}}}', Parquet)"

    def rows(self, query):
        answer = self.session.query(query, "JSONCompactEachRow")
        return [[int(cell) if isinstance(cell, str) and cell.isdigit() else cell for cell in json.loads(line)] for line in str(answer).splitlines()]

    def ask(self, link):
        owner = f"tenant_id = {self.asked['tenant']} and link_id = {link}"
        hours = self.rows(
            f"""select intDiv(toUnixTimestamp(hour_bucket), 3600), {COUNTS} from {self.source('link_stats_hourly')}
                where {owner} and hour_bucket >= toDateTime({self.first}) and hour_bucket < toDateTime({self.last})"""
        )
        days = f"day_bucket >= toDate({self.first // 86400}) and day_bucket < toDate({self.last // 86400})"
        by = {
            dimension: [
                [str(row[0]), row[1], row[2]]
                for row in self.rows(
                    f"""select value, sum(click_count), sum(bot_count) from {self.source('link_stats_dimension')}
                        where {owner} and dimension = '{dimension}' and {days} group by value"""
                )
            ]
            for dimension in self.asked["by"]
        }
        self.rows(f"select sum(unique_ips) from {self.source('link_stats_daily')} where {owner} and {days}")
        return {"hours": hours, "by": by}


TABLES = """
create table hourly (tenant_id bigint not null, link_id bigint not null, hour int not null, clicks int not null,
    bots int not null, previews int not null, primary key (tenant_id, link_id, hour)) engine = innodb;
create table daily (tenant_id bigint not null, link_id bigint not null, day int not null, uniques int not null,
    primary key (tenant_id, link_id, day)) engine = innodb;
create table dimension (tenant_id bigint not null, link_id bigint not null, dimension tinyint unsigned not null, day int not null,
    value varchar(255) character set utf8mb4 collate utf8mb4_bin not null, clicks int not null, bots int not null,
    primary key (tenant_id, link_id, dimension, day, value)) engine = innodb;
"""
NAMES = (
    "country region city continent referrer referrer_class device browser os utm_source utm_medium utm_campaign trigger"
    " language bot_reason"
).split()


class MariaDB(Files):
    """A server of its own, under a data folder and a port of its own."""

    def __init__(self, asked):
        import pymysql

        super().__init__(asked)
        self.folder = os.path.join(asked["folder"], "mariadb")
        filled = os.path.join(self.folder, "filled")
        if not os.path.exists(filled):
            subprocess.run(["rm", "-rf", self.folder], check=True)
            os.makedirs(self.folder)
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal"],
                check=True, stdout=subprocess.DEVNULL,
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.server = subprocess.Popen(
            ["mariadbd", "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.folder}/socket", f"--port={port}",
             "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=0",
             "--innodb-log-file-size=512M", "--skip-log-bin", "--secure-file-priv=", "--user=root", "--innodb-doublewrite=0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                self.connection = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)
                break
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline or self.server.poll() is not None:
                    raise
                time.sleep(0.1)
        self.cursor = self.connection.cursor()
        if not os.path.exists(filled):
            self.fill()
            open(filled, "w").close()
        self.cursor.execute("use rollups")
        self.cursor.execute("set group_concat_max_len = 1 << 24")

    def fill(self):
        import duckdb

        began = time.monotonic()
        self.cursor.execute("create database rollups")
        self.cursor.execute("use rollups")
        for statement in filter(str.strip, TABLES.split(";")):
            self.cursor.execute(statement)
        self.cursor.execute("set unique_checks = 0, foreign_key_checks = 0")
        codes = " ".join(f"when '{name}' then {code}" for code, name in enumerate(NAMES))
        source = duckdb.connect()
        source.execute(f"set threads = {THREADS}; set timezone = 'UTC'; set memory_limit = '4GB'; set preserve_insertion_order = false")
        source.execute(f"set temp_directory = '{self.folder}/spill'")
        everything = lambda table: [line.split("\t")[0] for line in self.asked["files"][table]]
        queries = {
            "hourly": f"select tenant_id, link_id, epoch(hour_bucket)::bigint // 3600 as hour, {COUNTS} from read_parquet({everything('link_stats_hourly')!r}) where link_id is not null",
            "daily": f"select tenant_id, link_id, epoch(day_bucket)::bigint // 86400 as day, unique_ips from read_parquet({everything('link_stats_daily')!r}) where link_id is not null",
            "dimension": f"select tenant_id, link_id, case dimension {codes} end as dimension, epoch(day_bucket)::bigint // 86400 as day, value, click_count, bot_count from read_parquet({everything('link_stats_dimension')!r}) where link_id is not null",
        }
        for table, query in queries.items():
            csv = f"{self.folder}/{table}.csv"
            key = {"hourly": "1, 2, 3", "daily": "1, 2, 3", "dimension": "1, 2, 3, 4, 5"}[table]
            source.execute(f"copy ({query} order by {key}) to '{csv}' (format csv, header false, quote '\"', escape '\"', force_quote ({'value' if table == 'dimension' else ''}))" if table == "dimension" else f"copy ({query} order by {key}) to '{csv}' (format csv, header false)")
            self.cursor.execute(
                f"load data infile '{csv}' into table {table} character set utf8mb4 fields terminated by ',' optionally enclosed by '\"' escaped by ''"
            )
            os.remove(csv)
            print(f"mariadb: {table} filled after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    def ask(self, link):
        owner = f"tenant_id = {self.asked['tenant']} and link_id = {link}"
        first, last = self.asked["hours"]
        days = f"day >= {first // 24} and day < {last // 24}"
        parts = [
            f"(select json_arrayagg(json_array(hour, clicks, bots, previews)) from hourly where {owner} and hour >= {first} and hour < {last})"
        ]
        parts += [
            f"(select json_arrayagg(json_array(value, clicks, bots)) from (select value, sum(clicks) as clicks, sum(bots) as bots"
            f" from dimension where {owner} and dimension = {NAMES.index(name)} and {days} group by value) as counted)"
            for name in self.asked["by"]
        ]
        parts.append(f"(select sum(uniques) from daily where {owner} and {days})")
        self.cursor.execute(f"select {', '.join(parts)}")
        hours, *by, _ = self.cursor.fetchone()
        return {
            "hours": json.loads(hours or "[]"),
            "by": {name: json.loads(rows or "[]") for name, rows in zip(self.asked["by"], by)},
        }

    def close(self):
        self.cursor.execute("shutdown")
        self.server.wait()


def main():
    name, questions = sys.argv[1:]
    with open(questions) as file:
        asked = json.load(file)
    engine = {"duckdb": DuckDB, "clickhouse": ClickHouse, "mariadb": MariaDB}[name](asked)
    rounds = []
    for _ in range(asked["rounds"]):
        took = []
        for link in asked["links"]:
            began = time.perf_counter()
            engine.ask(link)
            took.append((time.perf_counter() - began) * 1000)
        rounds.append(took)
    answers = {str(link): engine.ask(link) for link in asked["compared"]}
    if hasattr(engine, "close"):
        engine.close()
    json.dump({"first": rounds[0], "again": [took for round in rounds[1:] for took in round], "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
