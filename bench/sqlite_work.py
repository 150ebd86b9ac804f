"""The same work with SQLite wherever it runs: seconds of each group, as JSON. The argument is a directory for the databases."""
import json
import os
import sqlite3
import sys
import threading
import time

ROWS, COMMITS = 60_000, 200
BLOB, BLOBS = bytes(range(256)) * 1024, 200  # 256 KiB each


def group(name, work):
    start = time.perf_counter()
    work()
    seconds[name] = time.perf_counter() - start


def readers(path):
    def read():
        with sqlite3.connect(path) as db:
            for _ in range(3):
                db.execute("SELECT count(*), sum(length(text)) FROM a WHERE n % 7 = 3").fetchall()
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


seconds = {}
for journal, synchronous in (("WAL", "NORMAL"), ("WAL", "FULL"), ("DELETE", "FULL")):
    path, mode = os.path.join(sys.argv[1], f"{journal}-{synchronous}.db"), f"{journal.lower()} {synchronous.lower()}"
    for end in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path + end):
            os.unlink(path + end)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute("CREATE TABLE a (n INTEGER PRIMARY KEY, text TEXT)")
    db.execute("CREATE TABLE b (n INTEGER, word TEXT)")
    db.execute("CREATE TABLE c (n INTEGER PRIMARY KEY, large BLOB)")

    def insert():
        for begin in range(0, ROWS, 1000):
            db.execute("BEGIN")
            db.executemany("INSERT INTO a VALUES (?, ?)", [(n, f"row {n} " * 8) for n in range(begin, begin + 1000)])
            db.executemany("INSERT INTO b VALUES (?, ?)", [(n, f"w{n % 100}") for n in range(begin, begin + 1000, 10)])
            db.execute("COMMIT")

    def commits():
        for n in range(COMMITS):
            db.execute("UPDATE a SET text = ? WHERE n = ?", (f"changed {n}", n * 7))

    def large():
        for n in range(BLOBS):
            db.execute("INSERT INTO c VALUES (?, ?)", (n, BLOB))

    group(f"{mode}: inserts", insert)
    group(f"{mode}: commits", commits)
    group(f"{mode}: scans", lambda: [db.execute("SELECT count(*) FROM a WHERE text LIKE '%99%'").fetchall() for _ in range(5)])
    group(f"{mode}: joins", lambda: db.execute("SELECT word, count(*) FROM a JOIN b USING (n) GROUP BY word").fetchall())
    group(f"{mode}: four readers", lambda: readers(path))
    if journal == "WAL" and synchronous == "NORMAL":
        group(f"{mode}: large rows, written", large)
        group(f"{mode}: large rows, read", lambda: [db.execute("SELECT large FROM c WHERE n = ?", (n,)).fetchone() for n in range(BLOBS)])
    db.close()
print(json.dumps(seconds))
