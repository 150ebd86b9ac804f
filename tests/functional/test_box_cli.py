"""On the command line: logs of a sandbox as they come, directories copied both ways, and what sandboxes use.
labels: privileged timeout=240
"""
import json
import os
import stat
import subprocess
import threading
import time

from harness import Glovebox, run
from support import Checks, api_of, equal, eventually
from terminals import Terminal


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create(name="cli")
        logs(gb, box, check)
        trees(gb, tmp, box, check)
        top(gb, api, check)
        check.done()


def follow(gb, *words):
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "GLOVEBOX_STATE": gb.state, "GLOVEBOX_CONFIG": gb.config}
    return subprocess.Popen([gb.program, "sandbox", "logs", *words], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def logs(gb, box, check):
    with check("what was said is shown in order, with who said it and where"):
        one = box.start("/bin/bash", "-c", "echo first; echo wrong >&2")
        box.ended(one["pid"])
        done = gb.cli("sandbox", "logs", "cli", "--text")
        equal(done.stdout, f"{one['pid']} | first\n{one['pid']} ! wrong\n")
        equal(gb.cli("sandbox", "logs", "cli", "--text", "--errors").stdout, f"{one['pid']} ! wrong\n")
        equal(gb.cli("sandbox", "logs", "cli", "--text", "--process", str(one["pid"])).stdout, "first\nwrong\n")
        equal([json.loads(line)["body"] for line in gb.cli("sandbox", "logs", "cli").stdout.splitlines()], ["first", "wrong"])
        equal(gb.cli("sandbox", "logs", "nobody").returncode, 3)
        equal(gb.cli("sandbox", "logs", "cli", "--process", "4711").returncode, 3)
    with check("-f: what is said later, of processes started later, nothing twice and nothing missing, until the sandbox ends"):
        count = 3000
        with follow(gb, "cli", "-f", "--text", "--containing", "line ") as following:
            box.start("/bin/bash", "-c", f"for i in $(seq {count}); do echo line $i; done", name="speaker")
            box.start("/bin/bash", "-c", "for i in $(seq 20); do printf 'part '; sleep 0.02; echo line x$i; done")
            got = []
            while len([g for g in got if g.startswith("speaker")]) < count or len(got) < count + 20:
                got.append(following.stdout.readline())
                assert got[-1], "it ended early"
            equal([g for g in got if g.startswith("speaker")], [f"speaker | line {i}\n" for i in range(1, count + 1)])
            equal([g.split("| ")[1] for g in got if not g.startswith("speaker")], [f"part line x{i}\n" for i in range(1, 21)])
            following.terminate()
    with check("a suspended sandbox is read without being woken"):
        gb.api.post(f"/v1/namespaces/default/sandboxes/{box.id}/suspend").expect(200, 202)
        eventually(lambda: box.api.get(box.id)["status"] == "suspended", 30, "suspended")
        equal(gb.cli("sandbox", "logs", "cli", "--text", "--tail", "1", "--containing", "first").stdout.count("first"), 1)
        equal(box.api.get(box.id)["status"], "suspended")


def trees(gb, tmp, box, check):
    source = os.path.join(tmp, "tree")
    os.makedirs(os.path.join(source, "deep", "empty"))
    with open(os.path.join(source, "run me"), "w") as file:
        file.write("#!/bin/sh\necho ran\n")
    os.chmod(os.path.join(source, "run me"), 0o755)
    with open(os.path.join(source, "deep", "data ä.bin"), "wb") as file:
        file.write(os.urandom(300_000))
    os.symlink("deep/data ä.bin", os.path.join(source, "link"))
    with check("a directory goes in, as one that was not there and into one that was"):
        done = gb.cli("sandbox", "cp", source, "cli:/workspace/copy")
        equal(done.returncode, 0, done.stderr)
        equal(box.run("/workspace/copy/run me").stdout, "ran")
        equal(box.sh("readlink /workspace/copy/link; ls -d /workspace/copy/deep/empty; stat -c %u:%a '/workspace/copy/run me'").stdout,
              "deep/data ä.bin\n/workspace/copy/deep/empty\n0:755")
        equal(gb.cli("sandbox", "cp", source, "cli:/workspace").returncode, 0)
        box.sh("diff -r /workspace/copy /workspace/tree").ok()
    with check("a directory comes out the same"):
        out = os.path.join(tmp, "out")
        done = gb.cli("sandbox", "cp", "cli:/workspace/copy", out)
        equal(done.returncode, 0, done.stderr)
        equal(subprocess.run(["diff", "-r", source, out], capture_output=True).returncode, 0)
    with check("what was copied is in no log, nor is who copied it among the processes"):
        said = gb.cli("sandbox", "logs", "cli").stdout
        assert "ran" in said and "ustar" not in said and "exec tar" not in said, said[:2000]
        equal([p["args"] for p in box.processes() if "tar" in str(p["args"])], [])
        equal(os.readlink(os.path.join(out, "link")), "deep/data ä.bin")
        assert os.stat(os.path.join(out, "run me")).st_mode & stat.S_IXUSR
        equal(gb.cli("sandbox", "cp", "cli:/workspace/copy", out).returncode, 0)
        assert os.path.isdir(os.path.join(out, "copy", "deep"))
    with check("on a terminal what takes longer than a second shows how far it has come, and clears its line; what does not is silent"):
        pipe = os.path.join(tmp, "slow")
        os.mkfifo(pipe)
        copying = Terminal(gb, "sandbox", "cp", pipe, "cli:/tmp/slow")
        stop = threading.Event()

        def drip():
            with open(pipe, "wb") as end:
                while not stop.wait(0.05):
                    end.write(b"x" * 1024)
                    end.flush()

        dripping = threading.Thread(target=drip, daemon=True)  # of a copy that failed nobody opens the pipe
        dripping.start()
        try:
            copying.until("copy slow", keep=True)
            copying.until("KiB")
        finally:
            stop.set()
            dripping.join(30)
        equal(copying.wait(), 0)
        assert copying.seen.endswith(b"\r\x1b[K"), copying.seen
        equal(set(box.read("/tmp/slow")), {ord("x")})
        begun = time.monotonic()
        quick = Terminal(gb, "sandbox", "cp", os.path.join(source, "run me"), "cli:/tmp/quick")
        equal(quick.wait(), 0)
        if time.monotonic() - begun < 1:  # a busy machine may need longer, and then it may say so
            equal(quick.seen, b"")
    with check("no such directory, and no such sandbox"):
        assert gb.cli("sandbox", "cp", "cli:/nowhere/", os.path.join(tmp, "none")).returncode != 0
        equal(gb.cli("sandbox", "cp", source, "nobody:/tmp/x").returncode, 3)


def top(gb, api, check):
    with check("top: a line for each, its numbers in JSON"):
        busy = api.create(name="busy")
        busy.start("/bin/bash", "-c", "while :; do :; done")
        shown = gb.cli("top", "--text", "--times", "2", "--every", "300ms")
        equal(shown.returncode, 0, shown.stderr)
        assert "busy" in shown.stdout and "cli" in shown.stdout and "2 sandboxes" in shown.stdout, shown.stdout
        entry = next(one for one in json.loads(gb.cli("top").stdout) if one.get("name") == "busy")
        assert entry["memory_bytes"] > 0 and entry["memory_limit_bytes"] == 1024 << 20 and entry["pids"] >= 1, entry
        eventually(lambda: next(one for one in json.loads(gb.cli("top").stdout) if one.get("name") == "busy")["cpu_ms"] > 100, 30, "its work is counted")
        suspended = next(one for one in json.loads(gb.cli("top").stdout) if one.get("name") == "cli")
        assert suspended["status"] in ("running", "suspended"), suspended


run(test)
