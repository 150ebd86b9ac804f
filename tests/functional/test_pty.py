"""A terminal in a sandbox is a real one: it has a size, job control and Ctrl-C, survives its client, and knows its own.
labels: privileged timeout=300
"""
import struct
import time

from harness import Glovebox, run
from support import Checks, UpgradeRefused, api_of, equal, eventually, short

READY = b"\x02"
WATCHER = """import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
def show(): print('size %d %d' % os.get_terminal_size()[::-1], flush=True)
print(os.ttyname(0), flush=True)
show()
while True:
    signal.sigwait({signal.SIGWINCH})
    show()"""
LIMIT = 60  # seconds for what a terminal is to show


class Terminal:
    """The WebSocket of a terminal; `seen` is all it has shown."""

    def __init__(self, box, session, token=None, header=False):
        token = token or session["token"]
        path = f"/pty/{session['session_id']}/ws"
        self.ws = box.websocket(path, {"X-PTY-Token": token}) if header else box.websocket(f"{path}?token={token}")
        self.seen, self.exit = b"", None
        self.ws.send(READY)

    def type(self, text):
        self.ws.send(b"\x00" + text.encode())

    def resize(self, rows, cols):
        self.ws.send(b"\x01" + struct.pack(">HH", cols, rows))

    def step(self):
        message = self.ws.message()
        if message is None:
            return False
        if message[:1] == b"\x00":
            self.seen += message[1:]
        elif message[:1] == b"\x03":
            (self.exit,) = struct.unpack(">i", message[1:])
        else:
            raise AssertionError(f"unknown message {message[:20]!r}")
        return True

    def until(self, text):
        text = text.encode()
        deadline = time.monotonic() + LIMIT  # of our own: the server's pings keep the socket busy
        while text not in self.seen:
            assert time.monotonic() < deadline, f"not within {LIMIT} s: {text!r}; seen {short(self.seen)}"
            assert self.step(), f"closed before {text!r}; seen {short(self.seen)}"
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def finish(self):
        deadline = time.monotonic() + LIMIT
        while self.step():
            assert time.monotonic() < deadline, f"not ended within {LIMIT} s; seen {short(self.seen)}"
        return self.exit


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()
        terminals(box, check)
        sessions(box, check)
        tokens(api, box, check)
        hostile(box, check)
        box.delete()
        check.done()


def make(box, *args, command="/bin/bash", **members):
    return box.call("POST", "/pty", {"command": command, "args": list(args), **members}).expect(201).json


def shell(box, **members):
    session = make(box, "--noprofile", "--norc", env={"PS1": "$ "}, **members)
    terminal = Terminal(box, session)
    terminal.until("$ ")
    return session, terminal


def terminals(box, check):
    with check("a terminal echoes, runs and ends with the exit code, close 1000 and the reason exit:N"):
        session, terminal = shell(box)
        terminal.type("echo $((6*7))\n")
        terminal.until("echo $((6*7))")
        terminal.until("42")
        terminal.type("exit 9\n")
        equal(terminal.finish(), 9)
        equal(terminal.ws.close_code, 1000)

    with check("it is a tty of the asked size, and a resize by message or by call is seen with SIGWINCH"):
        session = make(box, "-c", WATCHER, command="python3", rows=30, cols=100)
        watcher = Terminal(box, session)
        watcher.until("/dev/pts/")
        watcher.until("size 30 100")
        watcher.resize(40, 120)
        watcher.until("size 40 120")
        box.call("POST", f"/pty/{session['session_id']}/resize", {"rows": 50, "cols": 132}).expect(204)
        watcher.until("size 50 132")
        record = box.call("GET", f"/pty/{session['session_id']}").expect(200).json
        equal((record["rows"], record["cols"]), (50, 132))

    with check("sizes are clamped to 1..500 rows and 1..1000 columns"):
        box.call("POST", f"/pty/{session['session_id']}/resize", {"rows": 9999, "cols": 99999}).expect(204)
        record = box.call("GET", f"/pty/{session['session_id']}").expect(200).json
        equal((record["rows"], record["cols"]), (500, 1000))

    with check("Ctrl-C interrupts what runs in the foreground, not the shell; Ctrl-Z and fg work; Ctrl-D ends"):
        session, terminal = shell(box)
        terminal.type("sleep 1000\n")
        eventually(lambda: "sleep 1000" in box.programs(), 10, "sleep runs")
        terminal.type("\x03")
        terminal.type("echo after:$?\n")
        terminal.until("after:130")
        terminal.type("sleep 1001\n")
        eventually(lambda: "sleep 1001" in box.programs(), 10, "sleep runs")
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.type("kill -9 %1\n")
        eventually(lambda: "sleep 1001" not in box.programs(), 10, "sleep is gone")
        terminal.type("echo job 'done'\n")  # the echo of what is typed must not look like its output
        terminal.until("job done\r\n")
        terminal.until("$ ")  # a Ctrl-D typed before the shell reads is the terminal's, and is lost
        terminal.type("\x04")
        terminal.type("exit\n")  # a shell that saw the job stopped wants to be told twice
        assert terminal.finish() is not None

    with check("env, working_dir and the command are honoured"):
        session = make(box, "-c", "echo $X $PWD; sleep 0.2", env={"X": "yes"}, working_dir="/tmp")
        terminal = Terminal(box, session)
        terminal.until("yes /tmp")
        equal(terminal.finish(), 0)

    with check("a megabyte of output arrives whole and in order"):
        session = make(box, "-c", "read x; seq 1 150000; echo the end")
        terminal = Terminal(box, session)
        terminal.type("\n")
        terminal.finish()
        lines = [line for line in terminal.seen.decode().split("\r\n") if line.strip()]
        equal(lines[-1], "the end")
        equal(lines[-150001:-1], [str(i) for i in range(1, 150001)])


def sessions(box, check):
    with check("list and get know the session and its end"):
        session, terminal = shell(box)
        listed = {s["session_id"]: s for s in box.call("GET", "/pty").expect(200).json["sessions"]}
        record = listed[session["session_id"]]
        for member, kind in (("pid", int), ("command", str), ("args", list), ("rows", int), ("cols", int), ("created_at", int),
                             ("is_alive", bool)):
            assert type(record[member]) is kind, (member, record)
        equal(record["is_alive"], True)
        assert "token" not in record, "a token is shown once"
        terminal.type("exit 4\n")
        equal(terminal.finish(), 4)
        record = eventually(lambda: (r := box.call("GET", f"/pty/{session['session_id']}").expect(200).json)["is_alive"] is False and r, 10, "ended")
        equal(record["exit_code"], 4)

    with check("a client that goes away leaves the session; the next one sees what was shown"):
        session, terminal = shell(box)
        terminal.type("echo first-client; V=kept\n")
        terminal.until("\r\nfirst-client")
        terminal.ws.__exit__()
        again = Terminal(box, session)
        again.until("first-client")
        again.type("echo value:$V\n")
        again.until("value:kept")

    with check("DELETE: 204, close 1001, and the shell is gone"):
        box.call("DELETE", f"/pty/{session['session_id']}").expect(204)
        again.finish()
        equal(again.ws.close_code, 1001)
        alive = lambda: [s for s in box.call("GET", "/pty").json["sessions"] if s["is_alive"]]
        eventually(lambda: session["session_id"] not in [s["session_id"] for s in alive()], 10, "dead")

    with check("a shell that ignores SIGHUP is killed in the end"):
        session = make(box, "-c", "trap '' HUP TERM INT; echo up; while :; do sleep 0.1; done")
        terminal = Terminal(box, session)
        terminal.until("up")
        box.call("DELETE", f"/pty/{session['session_id']}").expect(204)
        terminal.finish()

    with check("the 65th session is 429 TOO_MANY_SESSIONS"):
        made = []
        try:
            for _ in range(65):
                reply = box.call("POST", "/pty", {"command": "sleep", "args": ["300"]})
                if reply.status != 201:
                    break
                made.append(reply.json["session_id"])
            reply.refused(429, "TOO_MANY_SESSIONS")
            assert 50 <= len(made) <= 64, len(made)
        finally:
            for session_id in made:
                box.call("DELETE", f"/pty/{session_id}")


def tokens(api, box, check):
    def refused(status, code, path, headers=None):
        try:
            box.websocket(path, headers)
        except UpgradeRefused as error:
            error.reply.refused(status, code)
        else:
            raise AssertionError("upgraded")

    session = make(box, "-c", "sleep 300")
    with check("the token may come in the header"):
        Terminal(box, session, header=True).ws.close()

    with check("the token alone opens it: a browser's socket cannot send the key"):
        ws = box.websocket(f"/pty/{session['session_id']}/ws?token={session['token']}", {"Authorization": None})
        ws.close()

    with check("a wrong, empty or another session's token is 403 INVALID_TOKEN, an unknown session 404"):
        other = make(box, "-c", "sleep 300")
        path = f"/pty/{session['session_id']}/ws"
        refused(403, "INVALID_TOKEN", f"{path}?token=wrong")
        refused(403, "INVALID_TOKEN", f"{path}?token={other['token']}")
        refused(403, "INVALID_TOKEN", f"{path}?token=")
        refused(403, "INVALID_TOKEN", path)
        refused(404, "SESSION_NOT_FOUND", f"/pty/no-such-session/ws?token={session['token']}")
        for s in (session, other):
            box.call("DELETE", f"/pty/{s['session_id']}")

    with check("a token of one sandbox opens nothing in another"):
        twin = api.create()
        mine, theirs = make(box, "-c", "sleep 300"), make(twin, "-c", "sleep 300")
        try:
            twin.websocket(f"/pty/{theirs['session_id']}/ws?token={mine['token']}")
            raise AssertionError("upgraded")
        except UpgradeRefused as error:
            error.reply.refused(403, "INVALID_TOKEN")
        twin.delete()

    with check("a plain GET of the socket's path is refused, not hung"):
        assert box.call("GET", f"/pty/{session['session_id']}/ws?token={session['token']}").status in (400, 404, 426)


def hostile(box, check):
    with check("unknown opcodes, empty and text messages break at most their own connection"):
        for data, opcode in ((b"\x77abc", 2), (b"", 2), (b"hello", 1), (b"\x01\x00", 2), (b"\x01" + b"\xff" * 4, 2)):
            session = make(box, "-c", "sleep 300")
            terminal = Terminal(box, session)
            terminal.ws.send(data, opcode)
            terminal.ws.__exit__()
            equal(box.call("GET", f"/pty/{session['session_id']}").expect(200).json["is_alive"], True)
            box.call("DELETE", f"/pty/{session['session_id']}").expect(204)

    with check("a client that never reads does not stop the engine or the box"):
        session = make(box, "-c", "yes | head -c 50000000; sleep 300")
        terminal = Terminal(box, session)
        for _ in range(20):
            equal(box.sh("echo alive").stdout, "alive")
        terminal.ws.__exit__()
        box.call("DELETE", f"/pty/{session['session_id']}").expect(204)


run(test)
