"""Searches everything a process of a box can read for words given on stdin (name TAB hex, one per line).

Prints HIT lines and a last line of counts. Every read is bounded and non-blocking; the words themselves are only ever in
this process's memory and its pipe. Its own /proc entries are left out: it would find itself.
"""
import os
import stat
import sys
import time

words = {}
for line in sys.stdin:
    name, _, value = line.rstrip("\n").partition("\t")
    words[name] = bytes.fromhex(value)
me = str(os.getpid())
longest = max(len(w) for w in words.values())
deadline = time.monotonic() + 200
counts = {"files": 0, "processes": 0, "bytes": 0, "unreadable": 0, "late": 0}
seen = set()


def report(where, data):
    for name, word in words.items():
        if word in data:
            print(f"HIT {name} in {where}", flush=True)


def look(path, limit=8 << 20):
    if time.monotonic() > deadline:
        counts["late"] += 1
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        counts["unreadable"] += 1
        return
    try:
        counts["files"] += 1
        total, tail = 0, b""
        while total < limit:
            data = os.read(fd, 1 << 16)
            if not data:
                break
            total += len(data)
            report(path, tail + data)
            tail = data[-longest:]
        counts["bytes"] += total
    except OSError:
        counts["unreadable"] += 1
    finally:
        os.close(fd)


def walk(top, skip, one_limit):
    for folder, folders, names in os.walk(top, followlinks=False):
        folders[:] = [f for f in folders if os.path.join(folder, f) not in skip]
        for name in folders + names:
            path = os.path.join(folder, name)
            report("the name " + path, os.fsencode(path))
            try:
                info = os.lstat(path)
                if stat.S_ISLNK(info.st_mode):
                    report("the link " + path, os.fsencode(os.readlink(path)))
            except OSError:
                continue
            if stat.S_ISREG(info.st_mode) and (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                look(path, one_limit)


report("our environment", "\0".join(f"{k}={v}" for k, v in os.environ.items()).encode("utf-8", "surrogateescape"))
for fd in os.listdir("/proc/self/fd"):
    try:
        report(f"our descriptor {fd}", os.fsencode(os.readlink(f"/proc/self/fd/{fd}")))
    except OSError:
        pass

# Everything but /usr (the host's programs, world readable, and large), then of /usr what could have been written lately.
walk("/", {"/usr", "/proc", "/sys"}, 64 << 20)
walk("/usr/local", set(), 1 << 20)
walk("/sys", set(), 1 << 16)
for folder, folders, names in os.walk("/proc", followlinks=False):
    parts = folder.split("/")
    if len(parts) == 3:
        if parts[2] == me or parts[2] in ("self", "thread-self"):
            folders[:] = []
            continue
        counts["processes"] += parts[2].isdigit()
    if len(parts) > 3 and parts[2].isdigit() and parts[3] in ("task", "map_files", "net"):
        folders[:] = []
        continue
    for name in folders + names:
        path = os.path.join(folder, name)
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                report("the link " + path, os.fsencode(os.readlink(path)))
        except OSError:
            pass
    for name in names:
        look(os.path.join(folder, name), 1 << 20)
for name in ("root", "cwd", "fd", "exe", "ns", "map_files"):  # of everybody else, whatever can be opened
    for pid in os.listdir("/proc"):
        if pid.isdigit() and pid != me:
            try:
                for entry in os.listdir(f"/proc/{pid}/{name}"):
                    report(f"/proc/{pid}/{name}", os.fsencode(entry))
                    try:
                        report(f"/proc/{pid}/{name}", os.fsencode(os.readlink(f"/proc/{pid}/{name}/{entry}")))
                    except OSError:
                        pass
            except OSError:
                pass

# Readable memory of others of our user: keys may sit in a heap that nobody thought of.
for pid in os.listdir("/proc"):
    if not pid.isdigit() or pid == me:
        continue
    try:
        maps = open(f"/proc/{pid}/maps").read().splitlines()
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except OSError:
        continue
    for line in maps:
        span, mode = line.split()[:2]
        low, high = (int(x, 16) for x in span.split("-"))
        if mode.startswith("r") and high - low <= 64 << 20 and "[v" not in line:
            try:
                report(f"memory of process {pid}", os.pread(memory, high - low, low))
            except OSError:
                pass
    os.close(memory)

print("searched", " ".join(f"{k}={v}" for k, v in counts.items()))
