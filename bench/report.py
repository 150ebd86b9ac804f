"""What all measurements share: pairs taken in turns, memory of processes, the table and the JSON."""
import contextlib
import datetime
import json
import os
import platform
import time


def summary(values):
    ordered = sorted(values)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]}


def compare(name, ours, theirs, rounds, against, warm=3):
    """Takes turns; seconds of each."""
    pairs = []
    for _ in range(warm):  # caches, lazily loaded libraries
        ours(), theirs()
    for turn in range(rounds):
        if turn % 2:
            b, a = theirs(), ours()
        else:
            a, b = ours(), theirs()
        pairs.append((a, b))
    return paired(name, pairs, against)


def paired(name, pairs, against, unit="ms", by=1e3):
    """A row of what was taken in turns: the ratio is of the two of one turn."""
    return {"name": name, "against": against, "unit": unit, "rounds": len(pairs),
            "ours": scaled(summary([a for a, _ in pairs]), by), "theirs": scaled(summary([b for _, b in pairs]), by),
            "ratio": summary([a / b for a, b in pairs])}


def alone(name, values, unit="ms", by=1e3):
    return {"name": name, "unit": unit, "rounds": len(values), "ours": scaled(summary(values), by)}


def when(event):
    """The brain's clock when it stored an event."""
    return datetime.datetime.fromisoformat(event["processed_at"].replace("Z", "+00:00")).timestamp()


def scaled(numbers, by=1e3):
    return {key: value * by for key, value in numbers.items()}


def in_group(part):
    """Processes in control groups whose path holds `part`."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cgroup") as file:
            if f"/{part}" in file.read():
                found.append(int(entry))
    return found


def private_kb(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    return total


def three(numbers, width):
    if not numbers:
        return " " * (width * 3)
    return "".join(f"{numbers[key]:{width}.2f}" for key in ("min", "median", "p99"))


# What is promised of a row that begins like this and is compared with that: which figure, its limit, and on which side of that it is good.
MOST, LEAST = "at most", "at least"
GOALS = [("create to first output", "Bare", "ratio", MOST, 1.5),
         ("claim, in the engine alone", "", "ours", MOST, 1.0),
         ("snapshot of 100,000 files, against one", "100 files", "ratio", MOST, 1.5),
         ("fork x16 of 100,000 files", "100 files", "ratio", MOST, 1.5),
         ("SQLite", "in the pool", "ratio", MOST, 1.05),
         ("an update of a session of ", "a new one", "ratio", MOST, 1.25),
         ("tool call, ", "EnvironmentWorker", "ratio", MOST, 1 / 3),
         ("resident memory of a session", "EnvironmentWorker", "ratio", MOST, 1 / 20),
         ("  shared pages counted once", "EnvironmentWorker", "ratio", MOST, 1 / 20),
         ("requests for a second of the processor", "nginx", "ratio", LEAST, 0.7),
         ("latency the ingress adds", "nothing between", "ours", MOST, 0.2),
         ("wake from pause to first byte", "", "ours", MOST, 5.0)]


def judge(row):
    """Sets `goal` of a row that something is promised of: what was seen, and the most (or least) it may be. Medians."""
    for begin, against, figure, side, limit in GOALS:
        if row["name"].startswith(begin) and row.get("against", "").startswith(against):
            row["goal"] = {"seen": row[figure]["median"], "side": side, "limit": limit}
    if goal := row.get("goal"):
        goal["met"] = goal["seen"] >= goal["limit"] if goal.get("side") == LEAST else goal["seen"] <= goal["limit"]


def verdict(row):
    goal = row.get("goal")
    return f" {goal['seen']:.2f}, {goal.get('side', MOST)} {goal['limit']:.2f}: {'met' if goal['met'] else 'MISSED'}" if goal else ""


def print_table(rows):
    print(f"\n{'':66}{'rounds':>7} {'unit':>4} |{'min':>9}{'median':>9}{'p99':>9} |{'theirs':>9}{'median':>9}{'p99':>9} |{'ratio':>8}{'median':>8}{'p99':>8} | goal")
    for row in rows:
        print(f"{row['name']:66}{row['rounds']:7} {row['unit']:>4} |{three(row['ours'], 9)} |{three(row.get('theirs'), 9)} |{three(row.get('ratio'), 8)} |{verdict(row)}".rstrip(" |"))


def publish(rows, skipped, build, path):
    """The table on stdout, all of it as JSON in `path`."""
    for row in rows:
        judge(row)
    report = {"machine": {"kernel": platform.release(), "cores": os.cpu_count(), "load_1min": os.getloadavg()[0]},
              "build": build, "unix": int(time.time()), "rows": rows, "skipped": skipped}
    with open(path, "w") as file:
        json.dump(report, file, indent=1)
    print_table(rows)
    for name, why in skipped.items():
        print(f"skipped {name}: {why}")
    print(f"written to {path}")
