"""The counts of a nightly run by another engine: `peers.py duckdb|clickhouse FOLDER`.

From the raw Parquet files in a folder to sorted Parquet files beside them: a row for each link and hour, one for each
link and day, one for each link, dimension, day and value with its counts by quarter, and all of it once more for the
tenant. Visitors by the engine's own HyperLogLog, which stores the count alone where Linktide stores the sketch too.
"""

import os
import resource
import sys
import time

DIMENSIONS = (
    "country region city continent referrer referrer_class device browser os utm_source utm_medium utm_campaign trigger"
    " language bot_reason"
).split()
QUARTERS = range(4)
CLICK, BOT = "not preview", "not preview and bot_reason is not null"
HUMAN = "not preview and bot_reason is null"
# As much as any of them wants for five million clicks: what each takes is told.
THREADS, MEMORY = 2, 4 << 30


class DuckDB:
    hours, days = "date_trunc('hour', clicked_at)", "cast(clicked_at as date)"
    in_hour = "(epoch_us(clicked_at) // 900000000) % 4"
    in_day = "(epoch_us(clicked_at) // 900000000) % 96"

    def __init__(self, folder):
        import duckdb

        self.connection = duckdb.connect()
        self.run(f"set threads = {THREADS}")
        self.run(f"set memory_limit = '{MEMORY}B'")
        self.run("set timezone = 'UTC'")
        self.source = f"read_parquet('{folder}/*.parquet')"

    def run(self, query):
        self.connection.execute(query)

    def visitors(self):
        return f"approx_count_distinct(coalesce(visitor, ip_hash)) filter (where {HUMAN})"

    def count(self, condition):
        return f"count(*) filter (where {condition})"

    def write(self, query, order, file):
        self.run(f"copy ({query} order by {order} nulls first) to '{file}' (format parquet, compression zstd)")

    def dimensions(self):
        names = "', '".join(DIMENSIONS)
        values = ", ".join(f"coalesce({name}, '(none)')" for name in DIMENSIONS)
        return f"""
            select tenant_id, link_id, dimension, day, value, sum(clicks) as clicks, sum(bots) as bots,
                   list(quarter order by quarter) as quarters, list(clicks order by quarter) as quarter_clicks,
                   list(bots order by quarter) as quarter_bots
            from (select tenant_id, link_id, dimension, {self.days} as day, value, {self.in_day} as quarter,
                         count(*) as clicks, count(bot_reason) as bots
                  from (select tenant_id, link_id, clicked_at, bot_reason, unnest(['{names}']) as dimension,
                               unnest([{values}]) as value
                        from {self.source} where not preview)
                  group by grouping sets ((tenant_id, link_id, dimension, day, value, quarter),
                                          (tenant_id, dimension, day, value, quarter)))
            group by tenant_id, link_id, dimension, day, value"""


class ClickHouse:
    hours, days = "toStartOfHour(clicked_at, 'UTC')", "toDate(clicked_at, 'UTC')"
    in_hour = "intDiv(toUnixTimestamp(clicked_at), 900) % 4"
    in_day = "intDiv(toUnixTimestamp(clicked_at), 900) % 96"

    def __init__(self, folder):
        from chdb import session

        self.session = session.Session()
        self.source = f"file('{folder}/*.parquet', Parquet)"

    def run(self, query):
        settings = (
            f"max_threads = {THREADS}, max_memory_usage = {MEMORY}, group_by_use_nulls = 1,"
            f" max_bytes_before_external_group_by = {MEMORY // 2}, max_bytes_before_external_sort = {MEMORY // 2},"
            " output_format_parquet_compression_method = 'zstd', engine_file_truncate_on_insert = 1"
        )
        self.session.query(f"{query} settings {settings}")

    def visitors(self):
        return f"uniqHLL12If(coalesce(visitor, ip_hash), {HUMAN})"

    def count(self, condition):
        return f"countIf({condition})"

    def write(self, query, order, file):
        self.run(f"insert into function file('{file}', Parquet) {query} order by {order}")

    def dimensions(self):
        names = "', '".join(DIMENSIONS)
        values = ", ".join(f"ifNull(toString({name}), '(none)')" for name in DIMENSIONS)
        return f"""
            select tenant_id, link_id, dimension, day, value, sum(clicks) as all_clicks, sum(bots) as all_bots,
                   groupArray(quarter) as quarters, groupArray(clicks) as quarter_clicks,
                   groupArray(bots) as quarter_bots
            from (select tenant_id, link_id, dimension, {self.days} as day, value, {self.in_day} as quarter,
                         count() as clicks, count(bot_reason) as bots
                  from (select tenant_id, link_id, clicked_at, bot_reason, pair.1 as dimension, pair.2 as value
                        from {self.source}
                        array join arrayZip(['{names}'], [{values}]) as pair where not preview)
                  group by grouping sets ((tenant_id, link_id, dimension, day, value, quarter),
                                          (tenant_id, dimension, day, value, quarter)))
            group by tenant_id, link_id, dimension, day, value"""


def counted(engine, bucket, columns):
    return f"""
        select tenant_id, link_id, {bucket} as bucket, {columns}, {engine.visitors()} as visitors
        from {engine.source} group by grouping sets ((tenant_id, link_id, bucket), (tenant_id, bucket))"""


def hourly(engine):
    kinds = {"clicks": CLICK, "bots": BOT, "previews": "preview"}
    columns = (
        f"{engine.count(f'{condition} and {engine.in_hour} = {quarter}')} as {name}_{quarter}"
        for quarter in QUARTERS
        for name, condition in kinds.items()
    )
    return counted(engine, engine.hours, ", ".join(columns))


def daily(engine):
    columns = (
        f"{engine.count(CLICK)} as clicks, {engine.count(BOT)} as bots, {engine.count('preview')} as previews,"
        " min(case when not preview then clicked_at end) as first_click,"
        " max(case when not preview then clicked_at end) as last_click"
    )
    return counted(engine, engine.days, columns)


def main():
    name, folder = sys.argv[1:]
    engine = {"duckdb": DuckDB, "clickhouse": ClickHouse}[name](os.path.abspath(folder))
    out = os.path.abspath(f"{folder}.{name}")
    os.makedirs(out, exist_ok=True)
    began, before = time.monotonic(), processor()
    engine.write(hourly(engine), "tenant_id, link_id, bucket", f"{out}/hourly.parquet")
    tell("hourly", began, before)
    engine.write(daily(engine), "tenant_id, link_id, bucket", f"{out}/daily.parquet")
    tell("daily", began, before)
    engine.write(engine.dimensions(), "tenant_id, link_id, dimension, day, value", f"{out}/dimension.parquet")
    tell(name, began, before)


def processor():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tell(what, began, before):
    seconds, memory = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {seconds:.1f} s, processor {processor() - before:.1f} s, {memory:.0f} MiB at most", flush=True)


if __name__ == "__main__":
    main()
