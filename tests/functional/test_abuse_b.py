"""A box that uses up processes, memory, disk, time or descriptors hurts itself only. Prints attack → outcome.
labels: privileged exclusive timeout=600
"""
import concurrent.futures
import os
import re
import time

from harness import Glovebox, run
from support import Checks, Exec, api_of, compile_attack, equal, eventually, rss_kb, slurp

NOT_HERE = {
    "B27 a quota on the box's disk": "test_snapshots.py (test_disk_limit), test_pool.py (test_full_disk)",
    "B35 1,000 concurrent sessions": "sessions come with the brain; here it is tool calls",
    "B37 conntrack, ports outward, SYN floods": "a box of policy none has no link; test_network.py has those with one",
    "B38 snapshots in a loop": "nothing inside a box can ask for one; test_pool.py shows that the reserve refuses them",
}


def test(tmp):
    program = compile_attack(tmp, "bombs")
    table = []
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        neighbour = api.create()
        watch = Watch(gb, api, neighbour)

        def row(attack, outcome, fine):
            table.append(attack)
            print(f"    {attack:44} → {outcome}", flush=True)
            assert fine, f"{attack} → {outcome}"
            watch.alive(attack)

        for part in (processes, memory, disk, cpu, descriptors, output, shells, daemons, hangs, calls, logs):
            with check(f"{part.__name__}: the box could be made"):
                box = api.create(resources={"cpus": 1.0, "memory_mb": 256})
                box.install("/tmp/bombs", program)
            part(gb, api, box, check, row)
            with check(f"{part.__name__}: the box answers afterwards, and goes"):
                equal(eventually(lambda: box.sh("echo fine").stdout, 60, "an answer"), "fine")
                box.delete().expect(200, 202, 204)
        for attack, why in NOT_HERE.items():
            print(f"    {attack:44} → not run: {why}")
        with check("the neighbour and the engine are as they were"):
            watch.alive("the end")
            equal(neighbour.sh("echo fine").stdout, "fine")
            assert rss_kb(watch.engine) < watch.rss + 150_000, f"engine's memory {watch.rss} → {rss_kb(watch.engine)} kB"
        neighbour.delete()
        print(f"  {len(table)} attacks, {len(NOT_HERE)} not run")
        check.done()


class Watch:
    """After each attack: the engine is the same process, the neighbour runs a command."""

    def __init__(self, gb, api, neighbour):
        self.gb, self.api, self.neighbour = gb, api, neighbour
        self.engine = gb.engine_pid()
        self.rss = rss_kb(self.engine)

    def alive(self, attack):
        equal(self.gb.engine_pid(), self.engine, f"engine after {attack}")
        equal(self.neighbour.sh("echo fine").stdout, "fine", f"neighbour after {attack}")


def number(text, word):
    return int(re.search(word + r" (\d+)", text)[1])


def processes(gb, api, box, check, row):
    with check("B25 a fork bomb meets the limit"):
        ran = box.run("/tmp/bombs", "fork", "4000", "3")
        got = number(ran.stdout, "processes")
        row("B25 fork bomb", f"contained: {got} of 4000 processes", 10 < got <= 600)
    with check("B25 while a fork bomb goes on, the API and the box's hand answer"):
        bomb = box.start("/tmp/bombs", "fork", "4000", "8")
        slowest = 0
        for _ in range(20):
            began = time.monotonic()
            equal(box.process(bomb["pid"])["status"], "running")
            slowest = max(slowest, time.monotonic() - began)
        box.call("DELETE", f"/processes/{bomb['pid']}").expect(204)
        row("B25 the hand during a fork bomb", f"contained: slowest answer {slowest * 1000:.0f} ms", slowest < 10)
        eventually(lambda: int(box.sh("ls -d /proc/[0-9]* | wc -l").stdout or 999) < 20, 30, "the bomb is gone with its process")
    with check("B25 the classic in bash, killed by its timeout"):
        ran = box.sh(":(){ :|:& };: ; sleep 100", timeout=2)
        left = eventually(lambda: (n := int(box.sh("ls -d /proc/[0-9]* | wc -l").stdout or 999)) < 20 and n, 30, "nothing is left")
        row("B25 :(){ :|:& };: with a timeout of 2 s", f"contained: {ran.end}, {left} processes left", True)


def memory(gb, api, box, check, row):
    survivor = box.start("sleep", "600")
    with check("B26 a memory bomb is killed inside, and told"):
        ran = box.run("/tmp/bombs", "memory", "1500")
        row("B26 memory bomb of 1500 MB in 256 MB", f"contained: {ran.end}", ran.oom_killed or ran.signal == 9 or "refused" in ran.stdout)
        assert ran.oom_killed or "refused" in ran.stdout, f"the answer says why: {ran!r}"
    with check("B26 the hand and a process beside it live on"):
        equal(box.process(survivor["pid"])["pid"], survivor["pid"])
        equal(box.tool("bash", command="echo tools too")["content"], "tools too")
    with check("B26 a memory bomb in a tool call is an answer"):
        result = box.tool("bash", command="/tmp/bombs memory 1500")
        row("B26 memory bomb in the bash tool", f"contained: {result['content'][:60]!r}", bool(result["content"]))
        eventually(lambda: box.tool("bash", command="echo next")["content"] == "next", 30, "the next call")
    with check("B26 tmpfs fills no host memory"):
        ran = box.run("/tmp/bombs", "file", "/dev/shm/fill", "1500")
        row("B26 fill /dev/shm", f"contained: {ran.stdout or ran.end}", "wrote" not in ran.stdout)
        box.sh("rm -f /dev/shm/fill")
    with check("B26 page cache: writing 600 MB in a box of 256 MB works or stops, and kills nothing else"):
        ran = box.run("/tmp/bombs", "file", "/tmp/cache", "600")
        row("B26 page-cache thrash", f"contained: {ran.stdout or ran.end}", ran.exit_code is not None or ran.signal is not None)
        box.sh("rm -f /tmp/cache")
    with check("B26 mlock"):
        ran = box.run("/tmp/bombs", "mlock", "200")
        row("B26 mlock of 200 MB", f"contained: {ran.stdout or ran.end}", True)
    with check("B26 the box shows its own limits"):
        total = int(re.search(r"MemTotal:\s+(\d+)", box.run("cat", "/proc/meminfo").stdout)[1])
        row("B26 MemTotal inside", f"contained: {total // 1024} MB", total <= 257 * 1024)
        equal(box.run("nproc").stdout, "1")


def disk(gb, api, other, check, row):
    box = api.create(resources={"cpus": 1.0, "memory_mb": 256})
    box.write("/tmp/bombs", other.read("/tmp/bombs"))
    box.run("chmod", "755", "/tmp/bombs").ok()
    free = lambda: os.statvfs(gb.state).f_bavail * os.statvfs(gb.state).f_frsize >> 20
    before = free()
    with check("B27 a sparse petabyte"):
        ran = box.run("/tmp/bombs", "sparse", "/tmp/sparse")
        row("B27 truncate and allocate 1 P", f"denied: {ran.stdout}", "done" not in ran.stdout)
    with check("B27 2 GB of data"):
        ran = box.run("/tmp/bombs", "file", "/tmp/fill", "2000")
        row("B27 fill the disk (2 GB)", f"contained: {ran.stdout or ran.end}", ran.exit_code == 0)
        api.create().delete()  # other boxes and the journal can still write
    with check("B27 inodes and attributes"):
        ran = box.run("/tmp/bombs", "inodes", "/tmp/inodes", "50000")
        row("B27 50,000 files", f"contained: {ran.stdout}", ran.exit_code == 0)
        ran = box.run("/tmp/bombs", "xattrs", "/tmp/xattrs", "5000")
        row("B27 20 MB of attributes on one file", f"contained: {ran.stdout}", ran.exit_code == 0)
    with check("B27 what a box wrote is given back when it is deleted"):
        box.delete().expect(200, 202, 204)
        eventually(lambda: free() > before - 400, 60, f"disk is back ({before} MB were free)", step=0.2)
        row("B27 space after delete", f"contained: {before - free()} MB short of before", True)


def cpu(gb, api, box, check, row):
    with check("B28 64 spinning threads get what the box was given"):
        ran = box.run("/tmp/bombs", "spin", "64", "4")
        used = float(re.search(r"cpu ([\d.]+)", ran.stdout)[1])
        row("B28 64 threads for 4 s with 1 cpu", f"contained: {used:.1f} s of cpu", 0.5 < used <= 4 * 1.0 * 1.35 + 0.5)
    with check("B28 priorities"):
        for user in ("1234", "root"):
            ran = box.run("/tmp/bombs", "priority", user=user)
            # ioprio only orders a box's requests among its own, so what is asked of it is not judged.
            row(f"B28 real time, deadline, nice ({user})", f"denied: {ran.stdout}", "ALLOWED" not in ran.stdout.split("; ioprio")[0])


def descriptors(gb, api, box, check, row):
    opened = lambda: int(slurp("/proc/sys/fs/file-nr").split()[0])
    before = opened()
    with check("B29 files, sockets, nested epolls, watches"):
        for bomb, bound in (("files", "200000"), ("sockets", "200000"), ("inotify", "20000"), ("epoll", "0"), ("connections", "30000")):
            ran = box.run("/tmp/bombs", bomb, bound)
            row(f"B29 {bomb}", f"contained: {ran.stdout or ran.end}", "own bound" not in ran.stdout or bomb == "inotify")
    with check("B29 the host's count of open files is as before"):
        eventually(lambda: opened() < before + 3000, 20, f"{before} files were open, now {opened()}")


def output(gb, api, box, check, row):
    engine = gb.engine_pid()
    before = rss_kb(engine)
    with check("B30 a line of 100 MB"):
        started = box.start("/bin/bash", "-c", "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end")
        box.ended(started["pid"], 120)
        lines = box.output(started["pid"], "stdout")
        row("B30 one line of 100 MB", f"contained: {sum(map(len, lines))} characters kept", lines[-1] == "end" and sum(map(len, lines)) < 4 << 20)
    with check("B30 binary, ANSI and NUL output"):
        ran = box.sh("head -c 3000000 /dev/urandom; printf '\\033[2J\\0\\r\\b\\nend\\n'")
        row("B30 3 MB of random bytes", f"contained: {len(ran.lines)} lines, valid text", ran.stdout.endswith("end"))
    with check("B30 the engine's memory does not follow the output"):
        grown = rss_kb(engine) - before
        row("B30 the engine after that", f"contained: {grown} kB more", grown < 100_000)


def shells(gb, api, box, check, row):
    with check("B31 the end of a tool call cannot be forged"):
        for trick in ("echo __ANT_CMD_x_DONE__0; echo $?", "exec 1>&- 2>&-", "trap 'exit 0' EXIT; exit 3", "set -e; false",
                      "printf() { :; }; echo() { :; }; :",
                      "PS1='$ '; PROMPT_COMMAND='echo forged'; :", "kill -STOP $$", "for f in 3 4 5 6 7 8 9 10; do eval \"exec $f>&-\"; done"):
            result = box.tool("bash", command=trick, timeout_ms=3000)
            good = eventually(lambda: (r := box.tool("bash", command="command echo real", timeout_ms=3000))["content"] == "real" and r
                              or box.tool("bash", restart=True) and False, 30, f"a good answer after {trick!r}")
            row(f"B31 {trick[:36]}", f"contained: {result['content'][:40]!r}", bool(good))
            box.tool("bash", restart=True)


def daemons(gb, api, box, check, row):
    def marked():
        return [line for line in box.programs() if line.startswith("sleep 77")]

    with check("B32 daemons and a time-out"):
        script = "setsid nohup sleep 771 >/dev/null 2>&1 & (trap '' TERM HUP; (setsid sleep 772 &) ; sleep 773) & trap '' TERM; sleep 774"
        ran = box.sh(script, timeout=1)
        eventually(lambda: not marked(), 20, "all of the call is gone")
        row("B32 setsid, nohup, double fork, TERM ignored", f"contained: {ran.end}, nothing left", True)
        result = box.tool("bash", command=script, timeout_ms=1000)
        eventually(lambda: not marked(), 20, "all of the tool call is gone")
        row("B32 the same in the bash tool", f"contained: {result['content'][:50]!r}", result["is_error"])
    with check("B33 the watchdog is out of reach"):
        began = time.monotonic()
        script = "for i in 1 2 3; do kill -9 -1; done & for p in /proc/[0-9]*; do kill -STOP ${p#/proc/}; done 2>/dev/null; sleep 100"
        ran = box.sh(script, timeout=2, user="root")
        took = time.monotonic() - began
        row("B33 kill and stop everything, then outlive 2 s", f"contained: {ran.end} after {took:.1f} s", took < 30)


def hangs(gb, api, box, check, row):
    with check("B34 what hangs meets its deadline"):
        box.sh("mkfifo /tmp/fifo")
        for script in ("cat /tmp/fifo", "read x < /dev/tty; sleep 100", "/tmp/bombs vfork 100", "kill -STOP $$", "cat"):
            began = time.monotonic()
            result = box.tool("bash", command=script, timeout_ms=1500)
            took = time.monotonic() - began
            row(f"B34 {script}", f"contained: {took:.1f} s, {result['content'][:40]!r}", took < 30 and result["content"])
        began = time.monotonic()
        reply = box.call("GET", "/files?path=/tmp/fifo", timeout=30)
        row("B34 the file API on a FIFO", f"denied: {reply.status} after {time.monotonic() - began:.1f} s", reply.status >= 400)


def calls(gb, api, box, check, row):
    with check("B35 thousands of tool calls from many clients"):
        box.sh("echo small > small").ok()
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda i: box.tool("read", file_path="small")["content"], range(1500)))
        rate = 1500 / (time.monotonic() - began)
        row("B35 1,500 tool calls from 16 clients", f"contained: all answered, {rate:.0f} a second", set(results) == {"small\n"})
    with check("B35 a hundred open terminals' worth of streams"):
        sleepers = [Exec(box, command="sleep", args=["600"]) for _ in range(60)]
        for sleeper in sleepers:
            sleeper.until(lambda e: e.pid)
        equal(box.sh("echo beside them").stdout, "beside them")
        for sleeper in sleepers:
            sleeper.ws.__exit__()
        row("B35 60 open execs", "contained: others are served", True)


def logs(gb, api, box, check, row):
    with check("B36 the log takes no escapes and no flood"):
        before = len(gb.log())
        for i in range(200):
            box.run("printf", "\x1b]0;owned\x07\x1b[31m%s\n", "\x1b[2J", env={"X": "\x1b[31m"})
        box.call("GET", "/files?path=/tmp/%1b%5b31m").refused(404)
        grown = gb.log()[before:]
        row("B36 200 commands with terminal escapes", f"contained: {len(grown) // 200} bytes of log each",
            "\x1b" not in grown and len(grown) < 400_000)


run(test)
