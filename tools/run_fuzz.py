#!/usr/bin/env python3
"""Runs each libFuzzer target for FUZZ_SECONDS (60), as many at a time as there are cores, from the corpus in fuzz/corpus.

What makes a target fail is kept in fuzz/crashes and reported; inputs that only reach new code stay in the build directory, for
the next run. `--keep` adds those to the corpus, which `make test` replays (libFuzzer's merge keeps the smallest set).
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CRASHES = os.path.join(ROOT, "fuzz", "crashes")
SUFFIX = "_fuzz"


def targets(build):
    found = {}
    for path in sorted(glob.glob(os.path.join(build, "bin", "*" + SUFFIX))):
        found[os.path.basename(path)[:-len(SUFFIX)]] = path
    return found


def environment():
    # A leak is a bug too, and a fault in a parser is never expected: stop at the first.
    return os.environ | {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def fuzz(name, path, build, seconds):
    seeds = os.path.join(ROOT, "fuzz", "corpus", name)
    found = os.path.join(build, "fuzz-corpus", name)
    os.makedirs(seeds, exist_ok=True)
    os.makedirs(found, exist_ok=True)
    before = set(glob.glob(os.path.join(CRASHES, name + "-*")))
    command = [path, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=65536",
               "-print_final_stats=1", f"-artifact_prefix={CRASHES}/{name}-", found, seeds]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=environment())
    new = sorted(set(glob.glob(os.path.join(CRASHES, name + "-*"))) - before)
    return name, done.returncode, done.stdout, new


def number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def merge(name, path, build):
    seeds = os.path.join(ROOT, "fuzz", "corpus", name)
    found = os.path.join(build, "fuzz-corpus", name)
    subprocess.run([path, "-merge=1", "-max_len=4096", seeds, found], stderr=subprocess.DEVNULL, env=environment(), check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build-fuzz"))
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "60")))
    parser.add_argument("--keep", action="store_true", help="add what reached new code to fuzz/corpus")
    parser.add_argument("targets", nargs="*", help="names; all by default")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    os.makedirs(CRASHES, exist_ok=True)
    chosen = {n: p for n, p in targets(build).items() if not options.targets or n in options.targets}
    failed = 0
    print(f"{'target':16} {'runs':>12} {'per second':>11} {'edges':>7} {'peak MB':>8}")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [pool.submit(fuzz, name, path, build, options.seconds) for name, path in chosen.items()]
        for future in concurrent.futures.as_completed(running):
            name, code, output, new = future.result()
            print(f"{name:16} {number(r'stat::number_of_executed_units: +([0-9]+)', output):12} "
                  f"{number(r'stat::average_exec_per_sec: +([0-9]+)', output):11} {number(r'cov: ([0-9]+)', output):7} "
                  f"{number(r'stat::peak_rss_mb: +([0-9]+)', output):8}  {'ok' if code == 0 else 'FAILED'}", flush=True)
            if code != 0:
                failed += 1
                print("\n".join("    | " + line for line in output.splitlines()[-60:]))
                for path in new:
                    print(f"    kept: {os.path.relpath(path, ROOT)}   again: {os.path.relpath(chosen[name], ROOT)} {path}")
            elif options.keep:
                merge(name, chosen[name], build)
    print(f"{len(chosen) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
