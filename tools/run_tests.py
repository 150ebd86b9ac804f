#!/usr/bin/env python3
"""Runs the tests that ctest knows, several at a time, and counts them.

One line per test with its time. A failed one shows the end of its log and keeps its directory. Exit status 77 is a skip, and the
last line the test printed is the reason. Of a GoogleTest program each TEST counts as one. The last line is the result:
    N passed, N failed, N skipped
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import leftovers  # noqa: E402

SKIP = 77
TAIL_LINES = 60
REASON_LINES = 12
GRACE = 30  # seconds a test has to clean up after SIGTERM at its time limit


@dataclasses.dataclass
class Test:
    name: str
    command: list
    labels: set
    timeout: float
    serial: bool
    cwd: str
    environment: dict


@dataclasses.dataclass
class Outcome:
    test: Test
    seconds: float
    log: str
    directory: str
    passed: int = 0
    failed: int = 0
    skips: list = dataclasses.field(default_factory=list)  # (name, reason)
    failures: list = dataclasses.field(default_factory=list)  # what to print in the summary


def listed(build):
    """The tests of a build directory. ctest is the one list; labels, limits and order come from it."""
    text = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"],
                          check=True, capture_output=True, text=True).stdout
    tests = []
    for entry in json.loads(text)["tests"]:
        properties = {p["name"]: p["value"] for p in entry.get("properties", [])}
        tests.append(Test(name=entry["name"],
                          command=entry.get("command"),
                          labels=set(properties.get("LABELS", [])),
                          timeout=float(properties.get("TIMEOUT", 300)),
                          serial=bool(properties.get("RUN_SERIAL", False)),
                          cwd=properties.get("WORKING_DIRECTORY", build),
                          environment=dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", []))))
    return tests


def execute(test, directory, log_path):
    """The exit status, or None when the time limit passed."""
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("GLOVEBOX_", "TENSORLAKE_", "ANTHROPIC_", "GTEST_"))}
    environment |= {"TMPDIR": directory, "GTEST_OUTPUT": f"json:{directory}/gtest.json", "GTEST_COLOR": "no"}
    environment |= test.environment
    for name in ("GLOVEBOX_SOAK",):  # knobs of the tests themselves
        if name in os.environ:
            environment[name] = os.environ[name]
    with open(log_path, "wb") as log:
        child = subprocess.Popen(test.command, cwd=test.cwd, env=environment, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return child.wait(test.timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                try:
                    child.wait(GRACE)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
    return None


def judge_gtest(outcome, report):
    for suite in report.get("testsuites", []):
        for case in suite.get("testsuite", []):
            name = f"{suite['name']}.{case['name']}"
            if case.get("failures"):
                outcome.failed += 1
                outcome.failures.append(f"{outcome.test.name}: {name}")
            elif case.get("result") == "SKIPPED":
                outcome.skips.append((f"{outcome.test.name}: {name}", skip_reason(outcome.log, name)))
            elif case.get("status") == "RUN":
                outcome.passed += 1


def skip_reason(log, name):
    """GTEST_SKIP() prints its message between the RUN and the SKIPPED line of its test."""
    part = re.search(r"\[ RUN      \] " + re.escape(name) + r"\n(.*?)\[  SKIPPED \] ", log, re.S)
    lines = [line.strip() for line in (part.group(1) if part else "").splitlines()]
    lines = [line for line in lines if line and not re.search(r"\.cc:\d+: Skipped$", line)]
    return lines[-1] if lines else "no reason given"


def left_behind(directory):
    """What a test left, once what is dying had a moment. Processes are then ended: the next test starts clean."""
    deadline = time.monotonic() + 3
    while left := leftovers.describe(directory):
        if time.monotonic() > deadline:
            for pid, _ in leftovers.processes(directory):
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            return left
        time.sleep(0.05)
    return []


def run_one(test, run_directory, number):
    directory = os.path.join(run_directory, str(number))
    os.mkdir(directory)
    log_path = os.path.join(run_directory, f"{number}.log")
    started = time.monotonic()
    status, log = None, ""
    if test.command and os.path.exists(test.command[0]):
        status = execute(test, directory, log_path)
        with open(log_path, errors="replace") as file:
            log = file.read()
    else:
        log = f"{test.name} was not built\n"
        status = 1
    outcome = Outcome(test, time.monotonic() - started, log, directory)
    report = None
    try:
        with open(os.path.join(directory, "gtest.json")) as file:
            report = json.load(file)
    except (OSError, ValueError):
        pass
    if report:
        judge_gtest(outcome, report)
    elif status == SKIP:
        lines = [line for line in log.splitlines() if line.strip()]
        outcome.skips.append((test.name, lines[-1] if lines else "no reason given"))
    elif status == 0:
        outcome.passed = 1
    if status is None:
        outcome.failures.append(f"{test.name}: not done after {test.timeout:.0f} s")
    elif status not in (0, SKIP) and not outcome.failures:
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        outcome.failures.append(f"{test.name}: {how}")
    left = left_behind(directory)
    if left:
        outcome.passed = outcome.passed if report else 0
        outcome.failures.append(f"{test.name}: left behind on the machine")
        outcome.log += "\nleft behind:\n  " + "\n  ".join(left) + "\n"
    if len(outcome.failures) > outcome.failed:  # more went wrong than GoogleTest counted
        outcome.failed += 1
    if not outcome.failed:
        shutil.rmtree(directory, ignore_errors=True)
        os.path.exists(log_path) and os.unlink(log_path)
    return outcome


def reason(lines):
    """What a failed Python test said last, first: who reads only the beginning should know."""
    raised = [n for n, line in enumerate(lines) if re.match(r"\w+(Error|Limit|Exception|Expired)\b", line)]
    return lines[raised[-1]:][:REASON_LINES] if raised else []


def show(outcome, verbose):
    counted = outcome.passed + outcome.failed + len(outcome.skips)
    word = "FAIL" if outcome.failed else "skip" if outcome.skips and not outcome.passed else "ok"
    note = f"  ({counted} tests)" if counted > 1 else ""
    if word == "skip" and counted == 1:
        note = f"  {outcome.skips[0][1]}"
    print(f"{word:4} {outcome.seconds:7.1f} s  {outcome.test.name}{note}", flush=True)
    if outcome.failed:
        lines = outcome.log.splitlines()
        for line in reason(lines):
            print(f"       > {line}")
        for line in lines if verbose else lines[-TAIL_LINES:]:
            print(f"       | {line}")
        print(f"       directory kept: {outcome.directory}, log: {outcome.directory}.log", flush=True)
    elif verbose:
        for line in outcome.log.splitlines():
            print(f"       | {line}", flush=True)


def run_all(tests, jobs, run_directory, verbose):
    outcomes = []

    def done(outcome):
        outcomes.append(outcome)
        show(outcome, verbose)

    numbered = list(enumerate(tests, 1))
    together = [(n, t) for n, t in numbered if not t.serial]
    # Those that expect to be slow first, so that none is left running alone at the end.
    together.sort(key=lambda pair: -pair[1].timeout)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(run_one, test, run_directory, number) for number, test in together]
        try:
            for future in concurrent.futures.as_completed(running):
                done(future.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for number, test in numbered:
        if test.serial:
            done(run_one(test, run_directory, number))
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build directory")
    parser.add_argument("--label", action="append", default=[], help="only tests with this label")
    parser.add_argument("--exclude", action="append", default=[], help="no tests with this label")
    parser.add_argument("-R", "--regex", default="", help="only tests whose name matches")
    parser.add_argument("-j", "--jobs", type=int, default=max(2, min(os.cpu_count() or 2, 8)))
    parser.add_argument("-v", "--verbose", action="store_true", help="the whole output of each test")
    parser.add_argument("--list", action="store_true", help="names and labels; run nothing")
    options = parser.parse_args()

    tests = [t for t in listed(os.path.abspath(options.build))
             if all(label in t.labels for label in options.label)
             and not any(label in t.labels for label in options.exclude)
             and re.search(options.regex, t.name)]
    if options.list:
        for test in tests:
            print(f"{test.name}  {' '.join(sorted(test.labels))}")
        return 0

    # Short, because a Unix socket's path has 107 bytes.
    run_directory = tempfile.mkdtemp(prefix="gbt-", dir="/tmp")
    # The root of a box is entered by ids that are nobody here.
    os.chmod(run_directory, 0o755)
    started = time.monotonic()
    outcomes = run_all(tests, options.jobs, run_directory, options.verbose)
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    skips = [skip for o in outcomes for skip in o.skips]
    if failed == 0:
        shutil.rmtree(run_directory, ignore_errors=True)
    print()
    for name, reason in skips:
        print(f"skipped {name}: {reason}")
    for outcome in outcomes:
        for failure in outcome.failures:
            print(f"failed  {failure}")
    print(f"{len(outcomes)} programs in {time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {failed} failed, {len(skips)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
