"""The same work with SQLite wherever it runs, group by group: after each a line [name, seconds], and before the next a line is waited for, so that
several of these can take turns. The argument is a directory for the databases. At the end of its input it goes on without waiting."""
import ctypes
import json
import os
import sqlite3
import sys
import threading
import time

ROWS = 60_000
BLOB, BLOBS = bytes(range(256)) * 1024, 200  # 256 KiB each
MODES = (("WAL", "NORMAL"), ("WAL", "FULL"), ("DELETE", "FULL"))


def timed(folder, work):
    """Seconds of it. It begins with nothing left to be written, and when those who passed on the word to begin are still."""
    ctypes.CDLL(None).syncfs(folder)
    time.sleep(0.01)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def read(path):
    with sqlite3.connect(path) as db:
        for _ in range(3):
            db.execute("SELECT count(*), sum(length(text)) FROM a WHERE n % 7 = 3").fetchall()


def readers(path):
    threads = [threading.Thread(target=read, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fresh(path, journal, synchronous):
    for end in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path + end):
            os.unlink(path + end)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute("CREATE TABLE a (n INTEGER PRIMARY KEY, text TEXT)")
    db.execute("CREATE TABLE b (n INTEGER, word TEXT)")
    db.execute("CREATE TABLE c (n INTEGER PRIMARY KEY, large BLOB)")
    return db


def insert(db):
    for begin in range(0, ROWS, 1000):
        db.execute("BEGIN")
        db.executemany("INSERT INTO a VALUES (?, ?)", [(n, f"row {n} " * 8) for n in range(begin, begin + 1000)])
        db.executemany("INSERT INTO b VALUES (?, ?)", [(n, f"w{n % 100}") for n in range(begin, begin + 1000, 10)])
        db.execute("COMMIT")


def commit(db, times):
    for n in range(times):
        db.execute("UPDATE a SET text = ? WHERE n = ?", (f"changed {n}", n * 7))


def ask(db, times, question):
    for _ in range(times):
        db.execute(question).fetchall()


def groups(directory):
    """(name, what to do) of each, in an order in which one builds on the other."""
    for journal, synchronous in MODES:
        path, mode = os.path.join(directory, f"{journal}-{synchronous}.db"), f"{journal.lower()} {synchronous.lower()}"
        db = fresh(path, journal, synchronous)
        unsynced = synchronous == "NORMAL"
        yield f"{mode}: inserts", lambda: insert(db)
        yield f"{mode}: commits", lambda: commit(db, 4000 if unsynced else 200)
        yield f"{mode}: scans", lambda: ask(db, 5, "SELECT count(*) FROM a WHERE text LIKE '%99%'")
        yield f"{mode}: joins", lambda: ask(db, 10, "SELECT word, count(*) FROM a JOIN b USING (n) GROUP BY word")
        yield f"{mode}: four readers", lambda: readers(path)
        if unsynced:
            yield f"{mode}: large rows, written", lambda: [db.execute("INSERT INTO c VALUES (?, ?)", (n, BLOB)) for n in range(BLOBS)]
            yield f"{mode}: large rows, read", lambda: [db.execute("SELECT large FROM c WHERE n = ?", (n,)).fetchone() for n in range(BLOBS)]
        db.close()


def main():
    folder = os.open(sys.argv[1], os.O_RDONLY)
    for name, work in groups(sys.argv[1]):
        sys.stdin.readline()
        print(json.dumps([name, timed(folder, work)]), flush=True)
    sys.stdin.readline()


main()
