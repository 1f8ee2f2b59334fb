"""python-mysql-replication, used as its README shows: inserts of shop.Sales, as dictionaries of values.

Usage: mysql_replication.py count|markers PORT FILE:POSITION ROWS

With "count" it reads to the end of the binlog; it prints "first" when the first row arrives and "rows N" at the
end. With "markers" it ends after so many rows, and prints the column Referral of each, and the time in
microseconds at which the row was here.
"""
import sys
import time

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import WriteRowsEvent

mode, port, start, expected = sys.argv[1:]
file, position = start.split(":")[:2]
stream = BinLogStreamReader(
    connection_settings={"host": "127.0.0.1", "port": int(port), "user": "root", "passwd": ""},
    server_id=7002,
    log_file=file,
    log_pos=int(position),
    resume_stream=True,
    blocking=mode == "markers",
    only_events=[WriteRowsEvent],
    only_schemas=["shop"],
    only_tables=["Sales"],
)
rows = 0
for event in stream:
    if rows == 0:
        print("first", flush=True)
    for row in event.rows:
        rows += 1
        if mode == "markers":
            print(row["values"]["Referral"], time.time_ns() // 1000, flush=True)
    if mode == "markers" and rows >= int(expected):
        break
print("rows", rows, flush=True)
