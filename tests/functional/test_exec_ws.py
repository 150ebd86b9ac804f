"""exec over a WebSocket: a command with its streams both ways, lossless, with signals, a terminal, and its exit.
labels: privileged timeout=300
"""
import contextlib
import hashlib
import json
import os
import threading

from harness import Glovebox, run
from support import Checks, Exec, api_of, equal, eventually


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()
        streams(box, check)
        control(box, check)
        refusals(box, check)
        box.delete()
        check.done()


def streams(box, check):
    with check("stdout and stderr are told apart, byte for byte; started comes first, exit last"):
        done = Exec(box, command="/bin/bash", args=["-c", r"printf 'a\0\377'; printf 'no newline' >&2; exit 6"]).finish()
        equal((done.stdout, done.stderr), (b"a\0\xff", b"no newline"))
        equal(done.exit["exit_code"], 6)
        assert done.pid > 0

    with check("stdin goes in, its end is seen, 20 MB come back unchanged"):
        data = os.urandom(1 << 20) * 20
        pipe = Exec(box, command="cat")
        feeder = threading.Thread(target=lambda: (pipe.stdin(data), pipe.stdin_end()))
        feeder.start()
        pipe.finish()
        feeder.join()
        equal(len(pipe.stdout), len(data))
        equal(hashlib.sha256(pipe.stdout).hexdigest(), hashlib.sha256(data).hexdigest())
        equal((pipe.exit["exit_code"], pipe.gaps), (0, 0))

    with check("a slow reader loses nothing"):
        slow = Exec(box, command="/bin/bash", args=["-c", "seq 1 1000000"])
        slow.until(lambda e: e.pid)
        equal(box.sh("echo others go on").stdout, "others go on")  # meanwhile nobody reads `slow`
        slow.finish()
        equal(hashlib.sha256(slow.stdout).hexdigest(), hashlib.sha256("".join(f"{i}\n" for i in range(1, 1000001)).encode()).hexdigest())

    with check("env, working_dir and user"):
        done = Exec(box, command="/bin/bash", args=["-c", "echo $A $PWD $(id -u)"], env={"A": "b"}, working_dir="/tmp", user="1234").finish()
        equal(done.stdout, b"b /tmp 1234\n")

    with check("without stdin the command sees its end"):
        done = Exec(box, command="cat")
        done.stdin_end()
        equal(done.finish().exit["exit_code"], 0)


def control(box, check):
    with check("a signal reaches the command"):
        trap = Exec(box, command="/bin/bash", args=["-c", "trap 'echo got it; exit 3' INT; echo up; while :; do sleep 0.05; done"])
        trap.until(lambda e: b"up" in e.stdout)
        trap.signal(2)
        trap.finish()
        equal((trap.stdout, trap.exit["exit_code"]), (b"up\ngot it\n", 3))

    with check("a death by signal is told"):
        dead = Exec(box, command="sleep", args=["300"]).until(lambda e: e.pid)
        dead.signal(9)
        equal(dead.finish().exit["signal"], 9)

    with check("pty: a terminal with a size, resize, and Ctrl-C as a byte"):
        tty = Exec(box, command="/bin/bash", args=["--noprofile", "--norc"], env={"PS1": "$ "}, pty=True, rows=33, cols=99)
        tty.until(lambda e: e.stdout.endswith(b"$ "))
        tty.stdin(b"stty size\n")
        tty.until(lambda e: b"33 99" in e.stdout)
        tty.resize(44, 111)
        tty.stdin(b"stty size\n")
        tty.until(lambda e: b"44 111" in e.stdout)
        tty.stdin(b"sleep 1000\n")
        eventually(lambda: "sleep 1000" in box.programs(), 10, "sleep runs")
        tty.stdin(b"\x03")
        tty.stdin(b"echo status:$?\n")
        tty.until(lambda e: b"status:130" in e.stdout)
        tty.stdin(b"exit 8\n")
        equal(tty.finish().exit["exit_code"], 8)

    with check("when the client goes away, the command is killed with everything it started"):
        gone = Exec(box, command="/bin/bash", args=["-c", "setsid sleep 4321 & sleep 4322"]).until(lambda e: e.pid)
        eventually(lambda: "sleep 4321" in box.programs(), 10, "it runs")
        gone.ws.__exit__()
        eventually(lambda: not [p for p in box.programs() if p.startswith("sleep 43")], 20, "it is gone")

    with check("a time-out of its own is told"):
        done = Exec(box, command="sleep", args=["300"], timeout=0.5).finish()
        equal((done.exit.get("timed_out"), done.exit.get("signal")), (True, 9))

    with check("sixty at once"):
        execs = [Exec(box, command="/bin/echo", args=[str(i)]) for i in range(60)]
        equal([e.finish().stdout for e in execs], [f"{i}\n".encode() for i in range(60)])


def refusals(box, check):
    with check("a command that does not exist is one error message, and close 1008"):
        done = Exec(box, command="no-such-command-anywhere").finish()
        assert "no-such-command-anywhere" in done.error["error"] and done.error["code"], repr(done)
        equal((done.exit, done.ws.close_code), (None, 1008))

    with check("a first message that is no such JSON is an error and close 1008, the engine goes on"):
        for first in ("{", "[]", "{}", '{"command":5}', '{"command":"true","pty":"yes"}', '{"command":"true","rows":"x","pty":true}', b"\x00binary first"):
            ws = box.websocket("/exec/ws")
            ws.send(first)
            said = []
            while (message := ws.message()) is not None:
                said.append(message)
            assert ws.close_code in (1002, 1003, 1007, 1008), f"{first!r}: {ws.close_code}, {said}"
        ws = box.websocket("/exec/ws")
        with contextlib.suppress(ConnectionError):  # it may be closed while it is still being sent
            ws.send(json.dumps({"command": "true", "args": ["x" * 100] * 20_000}))
            while ws.message() is not None:
                pass
        assert ws.close_code != 1000
        equal(box.sh("echo alive").stdout, "alive")

    with check("unknown opcodes and short frames end at most this exec"):
        for data in (b"\x63", b"", b"\x01\x00", b"\x05", b"\x05\xff"):
            victim = Exec(box, command="sleep", args=["300"]).until(lambda e: e.pid)
            victim.ws.send(data)
            victim.ws.__exit__()
            box.call("DELETE", f"/processes/{victim.pid}")
        equal(box.sh("echo alive").stdout, "alive")


run(test)
