"""Runs all measurements, or some, and ends with one table over all rows: what was seen, what is promised, and whether it was met.

    make bench                                   all; about a quarter of an hour
    make bench BENCH_ONLY=create,sqlite,gateway  some: names of measurements, or of programs (run, session, worker, gateway)
    make bench BENCH_QUICK=1                     few rounds of each: to see that it works, not what it says
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = {
    "run": (("memory", "create", "exec", "tool", "delete", "snapshot", "sqlite", "sleep", "pool", "burst", "interactive", "runc", "podman"),
            ("--rounds", "10", "--at-once", "20")),
    "session": (("call", "events", "long", "streams", "idle", "burst"), ("--rounds", "30", "--at-once", "20", "--streams", "100")),
    "worker": ((), ("--sessions", "1", "--calls", "60")),
    "gateway": (("proxy", "wake", "webhook"), ("--seconds", "1", "--rounds", "2", "--requests", "400", "--wakes", "5")),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--only", default="", help="comma-separated names of measurements or of programs")
    parser.add_argument("--quick", action="store_true", help="few rounds of each")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench.json)")
    return parser.parse_args()


def chosen(only):
    """{program: its measurements; (): all}"""
    names = [name for name in only.split(",") if name]
    found = {}
    for name in names:
        programs = [program for program, (parts, _) in PROGRAMS.items() if name in (program, *parts)]
        if not programs:
            there = ", ".join(f"{program} ({', '.join(parts)})" if parts else program for program, (parts, _) in PROGRAMS.items())
            sys.exit(f"bench: nothing to measure is called {name}; there are {there}")
        for program in programs:
            found.setdefault(program, set()).update(PROGRAMS[program][0] if name == program else (name,))
    return found if names else {program: set() for program in PROGRAMS}


def measure(program, parts, build, quick, path):
    words = [sys.executable, os.path.join(HERE, f"{program}.py"), "--build", build, "--json", path]
    if parts:
        words += ["--only", ",".join(name for name in PROGRAMS[program][0] if name in parts)]
    done = subprocess.run([*words, *(PROGRAMS[program][1] if quick else ())], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        return [], {program: f"it ended with {done.returncode}"}
    with open(path) as file:
        report = json.load(file)
    return report["rows"], report["skipped"]


def main():
    args = arguments()
    sys.path.insert(0, HERE)
    from report import publish
    wanted, rows, skipped, began = chosen(args.only), [], {}, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp:
        for program, parts in wanted.items():
            more, missing = measure(program, parts, args.build, args.quick, os.path.join(tmp, f"{program}.json"))
            rows, skipped = rows + more, skipped | missing
    publish(rows, skipped, args.build, args.json or os.path.join(args.build, "bench.json"))
    promised = [row for row in rows if "goal" in row]
    missed = [row["name"].strip() for row in promised if not row["goal"]["met"]]
    print(f"{len(rows)} rows in {(time.monotonic() - began) / 60:.0f} minutes; {len(promised)} with a goal, {len(promised) - len(missed)} met"
          + (f", {len(missed)} missed: {'; '.join(missed)}" if missed else ""))
    return 1 if any(why.startswith("it ended with") for why in skipped.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
