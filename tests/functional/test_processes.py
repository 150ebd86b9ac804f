"""Processes of a sandbox: started, listed, signalled, fed, followed and run, with the environment, directory and user asked for.
labels: privileged timeout=300
"""
import base64
import concurrent.futures
import hashlib
import json
import socket
import time

from harness import Glovebox, run
from support import Checks, api_of, equal, eventually


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()
        running(box, check)
        environment(box, check)
        background(box, check)
        stdin(box, check)
        signals(box, check)
        following(box, check)
        refusals(box, check)
        separation(api, box, check)
        box.delete()
        check.done()


def running(box, check):
    with check("run gives stdout, stderr and the exit code, and the pid first"):
        ran = box.sh("echo out; echo err >&2; exit 7")
        equal((ran.stdout, ran.stderr, ran.exit_code), ("out", "err", 7))
        assert "pid" in ran.frames[0] and type(ran.frames[0]["started_at"]) is int, ran.frames[0]
        assert "exit_code" in ran.frames[-1], ran.frames[-1]
        assert all(type(f["timestamp"]) in (int, float) for f in ran.lines)

    with check("lines keep their order within a stream, empty ones too, and a last line without newline counts"):
        equal([f["line"] for f in box.sh(r"printf 'a\n\nb\n\n\nc'").lines], ["a", "", "b", "", "", "c"])
        equal([f["line"] for f in box.sh("seq 1 5000").lines], [str(i) for i in range(1, 5001)])

    with check("no output is no frame"):
        equal(box.run("true").lines, [])

    with check("a death by signal is reported as such"):
        ran = box.sh("kill -9 $$")
        equal((ran.exit_code, ran.signal), (None, 9))

    with check("a timeout ends the run and what it started"):
        start = time.monotonic()
        ran = box.sh("sleep 987 & sleep 986", timeout=0.7)
        equal((ran.signal, ran.frames[-1].get("timed_out")), (9, True))
        assert time.monotonic() - start < 30
        eventually(lambda: not [p for p in box.programs() if p.startswith("sleep 98")], 10, "nothing of it is left")

    with check("when the client of a run goes away, it is killed with everything it started"):
        connection, answer = box.plane.open("POST", "/api/v1/processes/run", {"command": "/bin/bash", "args": ["-c", "echo up; sleep 975 & sleep 976"]})
        while b"up" not in answer.readline():
            pass
        connection.close()
        answer.close()
        eventually(lambda: not [p for p in box.programs() if p.startswith("sleep 97")], 20, "nothing of it is left")

    with check("output that is not UTF-8 becomes valid text, and never breaks the stream"):
        ran = box.sh(r"printf 'a\xff\xfeb\n\x00\n\xe2\x82\xac\n'; echo end")
        equal(ran.exit_code, 0)
        equal(ran.lines[-1]["line"], "end")
        assert "€" in ran.stdout and "a" in ran.stdout

    with check("UTF-8 is not cut, however the writes fall"):
        ran = box.run("python3", "-c", "import os,time\nfor b in '€ä漢'.encode(): os.write(1,bytes([b])); time.sleep(0.01)\nos.write(1,b'\\n')")
        equal(ran.stdout, "€ä漢")

    with check("megabytes pass through run without loss"):
        ran = box.sh("head -c 20000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo done")
        equal(sum(len(f["line"]) for f in ran.lines), 20_000_000 + 4)

    with check("a single line of 3 MB arrives as one line, and what stderr says meanwhile is kept"):
        ran = box.sh("head -c 2000000 /dev/zero | tr '\\0' y; echo aside >&2; head -c 1000000 /dev/zero | tr '\\0' z; echo; echo next")
        equal([(f["stream"], len(f["line"])) for f in ran.lines if f["stream"] == "stdout"], [("stdout", 3_000_000), ("stdout", 4)])
        equal([f["line"] for f in ran.lines if f["stream"] == "stderr"], ["aside"])

    with check("a hundred runs at once all answer"):
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            results = list(pool.map(lambda i: box.sh(f"echo n{i}; exit {i}"), range(100)))
        equal([(r.stdout, r.exit_code) for r in results], [(f"n{i}", i) for i in range(100)])


def environment(box, check):
    with check("env is merged over the sandbox's own"):
        ran = box.sh('echo "$A|$PATH"', env={"A": "1 2\n3 ä=x"})
        assert ran.stdout.startswith("1 2\n3 ä=x|/"), ran
        base = set(box.run("env").stdout.splitlines())
        more = set(box.run("env", env={"EXTRA": "1"}).stdout.splitlines())
        equal(more - base, {"EXTRA=1"})

    with check("PATH, HOME and the like make sense inside"):
        ran = box.sh('cd "$HOME" && pwd && command -v sh && id -un && touch probe && rm probe').ok()
        assert ran.stdout.startswith("/"), ran

    with check("working_dir is honoured, and a missing one is an error"):
        equal(box.run("pwd", working_dir="/tmp").stdout, "/tmp")
        reply = box.call("POST", "/processes/run", {"command": "pwd", "working_dir": "/no/such/dir"})
        if reply.status == 200:  # told in the stream
            assert '"exit_code":0' not in reply.body.decode().replace(" ", ""), repr(reply)
        else:
            assert 400 <= reply.status <= 500 and reply.json["code"], repr(reply)

    with check("user: by name, by uid, by uid:gid, as an object"):
        equal(box.run("id", "-u", user="root").stdout, "0")
        equal(box.run("id", "-u", user="1234").stdout, "1234")
        equal(box.sh("id -u; id -g", user="1234:4321").stdout, "1234\n4321")
        equal(box.sh("id -u; id -g", user={"uid": 1234, "gid": 4321}).stdout, "1234\n4321")
        equal(box.run("id", "-un", user={"name": "root"}).stdout, "root")

    with check("command is looked up in PATH; arguments are not a shell's"):
        equal(box.run("echo", "$HOME", "a  b", "", "*", "-n").stdout, "$HOME a  b  * -n")

    with check("descriptors of a process are 0, 1 and 2"):
        script = "import os;print(sorted(int(f) for f in os.listdir('/proc/self/fd')))"
        equal(box.run("python3", "-c", script).stdout, "[0, 1, 2, 3]")  # 3: the listing itself

    with check("stdout_mode discard keeps nothing"):
        started = box.start("echo", "gone", stdout_mode="discard")
        box.ended(started["pid"])
        equal(box.output(started["pid"]), [])


def background(box, check):
    with check("start answers 201 with the record, list and get know it"):
        started = box.start("sleep", "300")
        for member, kind in (("pid", int), ("status", str), ("stdin_writable", bool), ("command", str), ("args", list),
                             ("started_at", int), ("oom_killed", bool)):
            assert type(started[member]) is kind, (member, started)
        equal((started["status"], started["command"], started["args"]), ("running", "sleep", ["300"]))
        assert started["pid"] in [p["pid"] for p in box.processes()]
        equal(box.process(started["pid"])["status"], "running")

    with check("DELETE kills: 204, then signaled by 9"):
        box.call("DELETE", f"/processes/{started['pid']}").expect(204)
        record = box.ended(started["pid"])
        equal((record["status"], record["signal"]), ("signaled", 9))
        assert type(record["ended_at"]) is int and record["ended_at"] >= record["started_at"], record

    with check("an exit code is kept after the end, and the output with it"):
        started = box.start("/bin/bash", "-c", "echo one; echo two >&2; exit 3")
        record = box.ended(started["pid"])
        equal((record["status"], record["exit_code"]), ("exited", 3))
        equal(box.output(started["pid"], "stdout"), ["one"])
        equal(box.output(started["pid"], "stderr"), ["two"])
        reply = box.call("GET", f"/processes/{started['pid']}/output").expect(200).json
        equal((reply["pid"], sorted(reply["lines"]), reply["line_count"]), (started["pid"], ["one", "two"], 2))

    with check("of more output than the ring holds the last part is kept"):
        started = box.start("/bin/bash", "-c", "seq 1 500000")
        box.ended(started["pid"], 60)
        lines = box.output(started["pid"], "stdout")
        equal(lines[-1], "500000")
        assert 1000 < len(lines) < 500_000, len(lines)
        assert len("\n".join(lines)) <= 2 << 20, "bounded"

    with check("a background child survives the command that started it"):
        box.sh("setsid sleep 301 >/dev/null 2>&1 & disown; exit 0").ok()
        eventually(lambda: "sleep 301" in box.programs(), what="it has become what it was asked to be")


def stdin(box, check):
    with check("stdin: bytes arrive unchanged, close ends it"):
        data = bytes(range(256)) * 2000
        started = box.start("/bin/bash", "-c", "sha256sum", stdin_mode="pipe")
        equal(started["stdin_writable"], True)
        for at in range(0, len(data), 100_000):
            box.call("POST", f"/processes/{started['pid']}/stdin", data[at : at + 100_000]).expect(204)
        box.call("POST", f"/processes/{started['pid']}/stdin/close", b"").expect(204)
        box.ended(started["pid"])
        equal(box.output(started["pid"])[0].split()[0], hashlib.sha256(data).hexdigest())

    with check("stdin that is closed is refused: 400 STDIN_NOT_WRITABLE"):
        started = box.start("sleep", "300")
        box.call("POST", f"/processes/{started['pid']}/stdin", b"x").refused(400, "STDIN_NOT_WRITABLE")
        box.call("DELETE", f"/processes/{started['pid']}").expect(204)
        equal(box.run("cat").lines, [], "run has no stdin")


def signals(box, check):
    with check("signal reaches the process"):
        started = box.start("/bin/bash", "-c", "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
        eventually(lambda: "ready" in box.output(started["pid"]), 10, "the trap is set")
        equal(box.call("POST", f"/processes/{started['pid']}/signal", {"signal": 15}).expect(200).json, {"success": True})
        equal(box.ended(started["pid"])["exit_code"], 5)
        assert "got" in box.output(started["pid"])

    with check("signal numbers outside 1..64 are 400"):
        started = box.start("sleep", "300")
        for number in (0, -1, 65, 1000, "15", 1.5, None):
            reply = box.call("POST", f"/processes/{started['pid']}/signal", {"signal": number})
            assert reply.status in (400, 422), f"{number!r}: {reply!r}"
        box.call("DELETE", f"/processes/{started['pid']}").expect(204)

    with check("DELETE takes what the process left in its group, too"):
        started = box.start("/bin/bash", "-c", "setsid sleep 4242 & (sleep 4243 &) ; echo up; sleep 4244")
        eventually(lambda: "up" in box.output(started["pid"]), 10, "started")
        box.call("DELETE", f"/processes/{started['pid']}").expect(204)
        eventually(lambda: not [p for p in box.programs() if p.startswith("sleep 424")], 10, "all of it is gone")


def following(box, check):
    with check("follow: first what was captured, then live, then eof, then the end of the response"):
        started = box.start("/bin/bash", "-c", "echo early; read x; echo late; echo bad >&2", stdin_mode="pipe")
        eventually(lambda: box.output(started["pid"]) == ["early"], 10, "the first line")
        events = box.follow(started["pid"])
        name, data = next(events)
        equal((name, json.loads(data)["line"], json.loads(data)["stream"]), ("output", "early", "stdout"))
        box.call("POST", f"/processes/{started['pid']}/stdin", b"go\n").expect(204)
        seen = [(name, json.loads(data)) for name, data in events]
        equal(seen[-1], ("eof", {}))
        equal(sorted((d["line"], d["stream"]) for n, d in seen if n == "output"), [("bad", "stderr"), ("late", "stdout")])

    with check("follow of one stream has only that, also after the end"):
        box.ended(started["pid"])
        for stream, lines in (("stdout", ["early", "late"]), ("stderr", ["bad"])):
            got = [(name, json.loads(data)) for name, data in box.follow(started["pid"], stream)]
            equal([d["line"] for n, d in got if n == "output"], lines)
            equal(got[-1][0], "eof")

    with check("a follower that goes away stops nothing"):
        started = box.start("/bin/bash", "-c", "for i in $(seq 200000); do echo line $i; done; echo end")
        events = box.follow(started["pid"])
        next(events)
        events.close()
        equal(box.ended(started["pid"], 60)["exit_code"], 0)
        equal(box.output(started["pid"])[-1], "end")

    with check("a follower that reads too slowly loses the middle, and gets a line that says how much"):
        started = box.start("/bin/bash", "-c", "read x; seq 1 1000000; echo end", stdin_mode="pipe")
        connection, answer = box.plane.open("GET", f"/api/v1/processes/{started['pid']}/stdout/follow")
        box.call("POST", f"/processes/{started['pid']}/stdin", b"\n").expect(204)
        equal(box.ended(started["pid"], 60)["exit_code"], 0)  # held up by nobody
        frames = [json.loads(line[5:]) for line in answer.read().decode().splitlines() if line.startswith("data:")]
        connection.close()
        gaps = [f for f in frames if f.get("gap")]
        assert gaps and all("missing" in f["line"] for f in gaps), f"{len(frames)} frames, no gap"
        equal([f["line"] for f in frames if "line" in f][-1], "end")

    with check("two followers see the same"):
        started = box.start("/bin/bash", "-c", "read x; seq 1 1000", stdin_mode="pipe")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            followers = [pool.submit(lambda: [json.loads(d)["line"] for n, d in box.follow(started["pid"]) if n == "output"])
                         for _ in range(2)]
            box.call("POST", f"/processes/{started['pid']}/stdin", b"\n").expect(204)
            texts = [follower.result() for follower in followers]
        equal(texts[0], [str(i) for i in range(1, 1001)])
        equal(texts[1], texts[0])


def refusals(box, check):
    with check("an unknown process is 404 on every verb"):
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/output"), ("GET", "/output/follow"), ("POST", "/signal"),
                             ("POST", "/stdin"), ("POST", "/stdin/close")):
            body = {"signal": 15} if path == "/signal" else (b"" if method == "POST" else None)
            box.call(method, f"/processes/999999{path}", body).refused(404)

    with check("a command that does not exist is an error that names it"):
        reply = box.call("POST", "/processes", {"command": "no-such-command-anywhere"})
        assert 400 <= reply.status <= 500 and "no-such-command-anywhere" in reply.json["error"], repr(reply)


def separation(api, box, check):
    with check("two sandboxes see neither each other's processes nor files"):
        other = api.create()
        mark = base64.b32encode(b"neighbour").decode().strip("=")
        started = box.start("/bin/bash", "-c", f"echo {mark} > /tmp/{mark}; exec -a {mark} sleep 300")
        eventually(lambda: box.run("test", "-e", f"/tmp/{mark}").exit_code == 0, 10, "the file is there")
        assert mark not in str(other.programs()) + other.sh("ls -A /tmp").stdout
        other.call("GET", f"/processes/{started['pid'] + 100000}").refused(404)
        other.delete()

    with check("host name, pids and id of the box are its own"):
        assert box.run("hostname").stdout != socket.gethostname()
        equal(box.sh("ls -d /proc/1 && wc -l < /proc/net/unix").ok().exit_code, 0)


run(test)
