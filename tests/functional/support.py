"""What the functional tests share beyond the harness: the sandbox API's verbs, a way to check many small promises in one
file, and a look at what an instance owns on the host."""
import contextlib
import glob
import json
import os
import re
import struct
import subprocess
import sys
import time
import traceback
import urllib.parse

import harness
from harness import Skip

# --- checks -----------------------------------------------------------------------------------------------------------


class Checks:
    """Several promises in one file: each is reported by name, one that fails does not hide the others."""

    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []

    @contextlib.contextmanager
    def __call__(self, promise):
        start = time.monotonic()
        try:
            yield
        except Skip as why:
            self.skipped.append(promise)
            print(f"  skip    {promise}: {why}", flush=True)
        except Exception as error:  # KeyboardInterrupt and friends still end the program
            self.failed.append(promise)
            print(f"  FAILED  {promise}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc(limit=6)
            if "time limit" in str(error):  # the harness's, of the whole test: no use to go on
                raise
        else:
            self.passed.append(promise)
            print(f"  ok      {promise} ({time.monotonic() - start:.2f} s)", flush=True)

    def done(self):
        print(f"  {len(self.passed)} kept, {len(self.failed)} broken, {len(self.skipped)} skipped", flush=True)
        assert not self.failed, "broken: " + "; ".join(self.failed)


def equal(got, want, what=""):
    assert got == want, f"{what + ': ' if what else ''}got {short(got)}, expected {short(want)}"


def short(value, limit=600):
    text = repr(value)
    return text if len(text) <= limit else text[: limit // 2] + f" …{len(text)}… " + text[-limit // 2 :]


def eventually(condition, limit=10.0, what="condition", step=0.02):
    """Gives the first true value of `condition`; after `limit` seconds it fails with what was last seen."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {what}; last seen {short(value)}")
        time.sleep(step)


# --- HTTP -------------------------------------------------------------------------------------------------------------

class Reply(harness.Response):
    def __repr__(self):
        return f"{self.status} {short(self.body, 300)}"

    def refused(self, status, code=None):
        """An error in the API's own shape: {"error": text, "code": WORD}."""
        assert self.status == status, f"expected {status} {code or ''}, got {self!r}"
        body = self.json
        assert isinstance(body.get("error"), str) and body["error"], f"no error text: {self!r}"
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", body.get("code") or ""), f"no code: {self!r}"
        if code:
            equal(body["code"], code, "code")
        return self


class Api(harness.Api):
    """The engine's lifecycle API. Each call is one connection, so that tests do not depend on each other's."""

    def call(self, *args, **more):
        answer = super().call(*args, **more)
        return Reply(answer.status, answer.headers.items(), answer.body)

    def create(self, timeout=60, **spec):
        record = self.call("POST", "/sandboxes", spec, timeout=timeout).expect(200, 201).json
        equal(record["status"], "running", "status of a fresh sandbox")
        return Box(self, record)

    def get(self, id_or_name):
        return self.call("GET", f"/sandboxes/{id_or_name}").expect(200).json

    def delete(self, id_or_name):
        return self.call("DELETE", f"/sandboxes/{id_or_name}")

    def list(self, **query):
        return self.call("GET", "/sandboxes?" + urllib.parse.urlencode(query)).expect(200).json

    def alive(self):
        """Records of what is not terminated."""
        return [s for s in self.list(limit=1000)["sandboxes"] if s["status"] != "terminated"]

    def delete_all(self):
        for record in self.alive():
            self.delete(record["id"])

    def box(self, id_or_name):
        return Box(self, self.get(id_or_name))


def api_of(glovebox):
    return Api(glovebox.url, glovebox.key)


class Ran:
    """A finished run: what came, line by line, and how it ended."""

    def __init__(self, frames):
        self.frames = frames
        self.lines = [f for f in frames if "line" in f]
        self.pid = next((f["pid"] for f in frames if "pid" in f), None)
        last = next((f for f in reversed(frames) if "exit_code" in f or "signal" in f), {})
        self.exit_code, self.signal = last.get("exit_code"), last.get("signal")
        self.oom_killed = bool(last.get("oom_killed"))

    def text(self, stream):
        return "\n".join(f["line"] for f in self.lines if f.get("stream") == stream)

    stdout = property(lambda self: self.text("stdout"))
    stderr = property(lambda self: self.text("stderr"))

    @property
    def end(self):
        if self.oom_killed:
            return "killed for memory"
        return f"exit {self.exit_code}" if self.signal is None else f"signal {self.signal}"

    def __repr__(self):
        return f"<{self.end}; stdout {short(self.stdout)}; stderr {short(self.stderr)}>"

    def ok(self):
        assert self.exit_code == 0, repr(self)
        return self


class Box:
    """One sandbox's data plane, addressed as the official client does on loopback: by the Host header."""

    def __init__(self, api, record):
        self.api, self.record = api, record
        self.id = record.get("sandbox_id") or record["id"]
        self.plane = Api(api.url, api.key, host=f"{self.id}.local", timeout=api.timeout)

    def call(self, method, path, body=None, headers=None, timeout=None):
        return self.plane.call(method, "/api/v1" + path, body, headers=headers, timeout=timeout)

    def delete(self):
        return self.api.delete(self.id)

    # processes
    def run(self, command, *args, wait=120, **members):
        body = {"command": command, "args": list(args), **members}
        events = self.plane.events("POST", "/api/v1/processes/run", body, timeout=wait)
        return Ran([json.loads(data) for _, data in events])

    def sh(self, script, wait=120, **members):
        return self.run("/bin/bash", "-c", script, wait=wait, **members)

    def start(self, command, *args, **members):
        return self.call("POST", "/processes", {"command": command, "args": list(args), **members}).expect(201).json

    def process(self, pid):
        return self.call("GET", f"/processes/{pid}").expect(200).json

    def processes(self):
        return self.call("GET", "/processes").expect(200).json["processes"]

    def programs(self):
        """Command lines of what runs in the box, words joined by blanks, but for the look itself."""
        script = "for p in /proc/[0-9]*; do [ ${p#/proc/} = $$ ] || tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null"
        return [line.strip() for line in self.sh(script).stdout.split("\n") if line.strip() and "/cmdline" not in line]

    def ended(self, pid, limit=30):
        return eventually(lambda: (p := self.process(pid))["status"] != "running" and p, limit, f"process {pid} ended")

    def output(self, pid, stream="output"):
        return self.call("GET", f"/processes/{pid}/{stream}").expect(200).json["lines"]

    def follow(self, pid, stream="output", timeout=60):
        """(event, data) as they come; closing the generator hangs up."""
        return self.plane.events("GET", f"/api/v1/processes/{pid}/{stream}/follow", timeout=timeout)

    # files
    @staticmethod
    def query(path):
        return "?path=" + urllib.parse.quote_plus(path)

    def write(self, path, content, timeout=60):
        content = content.encode() if isinstance(content, str) else content
        return self.call("PUT", "/files" + self.query(path), content, timeout=timeout).expect(204)

    def read(self, path):
        return self.call("GET", "/files" + self.query(path)).expect(200).body

    def install(self, path, host_file):
        """Puts a program into the box: the file API has no mode, so chmod is a process."""
        with open(host_file, "rb") as file:
            self.write(path, file.read())
        self.run("/bin/chmod", "755", path).ok()

    def tool(self, name, timeout=150, **inputs):
        return self.call("POST", f"/tools/{name}", inputs, timeout=timeout).expect(200).json

    def websocket(self, path, headers=None, timeout=30):
        return WebSocket(self.plane, "/api/v1" + path, headers, timeout)


class WebSocket(harness.WebSocket):
    """The harness's, that fails with the answer in hand when the upgrade is refused, and keeps the reason of a close."""

    def __init__(self, *args):
        super().__init__(*args)
        if self.status != 101:
            refusal = Reply(self.status, self.headers.items(), self.refusal())
            self.__exit__()
            raise UpgradeRefused(refusal)

    def message(self):
        """Bytes of the next message, or None once the other side has closed."""
        message = self.receive()
        return None if message is None else message[1]


class UpgradeRefused(Exception):
    def __init__(self, reply):
        super().__init__(repr(reply))
        self.reply = reply


class Exec:
    """`exec/ws`: one command, both ways. Collects what comes; `finish()` gives it all."""

    def __init__(self, box, patience=60, **members):
        self.ws = box.websocket("/exec/ws", timeout=patience)
        self.stdout, self.stderr, self.gaps, self.pid, self.exit, self.error = b"", b"", 0, None, None, None
        self.ws.send(json.dumps(members))

    def stdin(self, data):
        for at in range(0, len(data), 30000):
            self.ws.send(b"\x00" + data[at : at + 30000])

    def stdin_end(self):
        self.ws.send(b"\x04")

    def resize(self, rows, cols):
        self.ws.send(b"\x01" + struct.pack(">HH", cols, rows))

    def signal(self, number):
        self.ws.send(b"\x05" + bytes([number]))

    def step(self):
        """One message; False when the other side has closed."""
        received = self.ws.receive()
        if received is None:
            return False
        opcode, message = received
        if opcode == self.ws.TEXT:  # what cannot be done is said in one text message
            self.error = json.loads(message)
            return True
        kind, data = message[:1], message[1:]
        if kind == b"\x00":
            self.stdout += data
        elif kind == b"\x01":
            self.stderr += data
        elif kind == b"\x02":
            (self.pid,) = struct.unpack(">I", data)
        elif kind == b"\x03":
            self.exit = json.loads(data)
        elif kind == b"\x06":
            self.gaps += 1
        else:
            raise AssertionError(f"unknown message {message[:40]!r}")
        return True

    def until(self, condition):
        while not condition(self):
            assert self.step(), f"closed early: {self!r}"
        return self

    def finish(self):
        while self.step():
            pass
        return self

    def __repr__(self):
        return f"<pid {self.pid} exit {self.exit} error {self.error} stdout {short(self.stdout)} stderr {short(self.stderr)}>"


# --- the host ---------------------------------------------------------------------------------------------------------

def slurp(path, limit=1 << 20):
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError:
        return b""


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent(pid):
    stat = slurp(f"/proc/{pid}/stat").decode("utf-8", "replace")
    return int(stat[stat.rfind(")") + 2 :].split()[1]) if stat else 0


def start_time(pid):
    """With the pid this names a process for good: field 22 of stat, behind the last bracket."""
    stat = slurp(f"/proc/{pid}/stat").decode("utf-8", "replace")
    return stat[stat.rfind(")") + 2 :].split()[19] if stat else None


def rss_kb(pid):
    found = re.search(rb"VmRSS:\s+(\d+)", slurp(f"/proc/{pid}/status"))
    return int(found[1]) if found else 0


def open_files(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class Owned:
    """What one instance owns on the host, found by its id and its state directory alone: other instances run beside it."""

    def __init__(self, state_dir, instance=""):
        self.marks = [os.path.realpath(state_dir).encode()]
        if instance:
            self.marks.append(instance.encode())

    def marked(self, text):
        return any(mark in text for mark in self.marks)

    def processes(self):
        mine = [os.getpid(), os.getppid()]
        found = set()
        for pid in pids():
            if pid in mine:
                continue
            if self.marked(slurp(f"/proc/{pid}/cgroup")) or self.marked(slurp(f"/proc/{pid}/cmdline")):
                found.add(pid)
        grown = True
        while grown:  # children of ours belong to us, whatever they call themselves
            parents = {pid: parent(pid) for pid in pids() if pid not in mine}
            more = {pid for pid, up in parents.items() if up in found and pid not in found}
            found |= more
            grown = bool(more)
        return found

    def in_cgroup(self, part):
        """Host pids of those whose cgroup path contains `part`."""
        return {pid for pid in pids() if part.encode() in slurp(f"/proc/{pid}/cgroup")}

    def host_pids(self, box_id, inside):
        """pid → start time on the host of a box's processes that have these pids inside."""
        found = {}
        for pid in self.in_cgroup(box_id):
            numbers = re.search(rb"NSpid:\s+(.*)", slurp(f"/proc/{pid}/status"))
            if numbers and int(numbers[1].split()[-1]) in inside:
                found[pid] = start_time(pid)
        assert len(found) == len(inside), f"{inside} inside, found {found}"
        return found

    def cgroups(self):
        found = []
        for top, folders, _ in os.walk("/sys/fs/cgroup"):
            found += [os.path.join(top, f) for f in folders if self.marked(os.path.join(top, f).encode())]
        return sorted(found)

    def mounts(self):
        """Lines of every mount namespace of the machine that name us."""
        seen, found = set(), []
        for pid in pids():
            try:
                space = os.readlink(f"/proc/{pid}/ns/mnt")
            except OSError:
                continue
            if space in seen:
                continue
            seen.add(space)
            found += [line for line in slurp(f"/proc/{pid}/mountinfo", 1 << 22).splitlines() if self.marked(line)]
        return found

    def namespaces(self):
        """Namespaces that our processes are in or hold open, other than the machine's own."""
        initial = {os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")}
        found = set()
        for pid in self.processes():
            for folder in ("ns", "fd"):
                with contextlib.suppress(OSError):
                    for name in os.listdir(f"/proc/{pid}/{folder}"):
                        with contextlib.suppress(OSError):
                            link = os.readlink(f"/proc/{pid}/{folder}/{name}")
                            if re.fullmatch(r"(mnt|net|user|ipc|uts|pid|cgroup):\[\d+\]", link):
                                found.add(link)
        return found - initial

    def describe(self, processes):
        return [f"{pid}: {slurp(f'/proc/{pid}/cmdline')[:80]!r} {slurp(f'/proc/{pid}/cgroup')[-120:]!r}"
                for pid in sorted(processes)]


def compile_attack(tmp, name, *flags):
    """A static program from attacks/NAME*.c, built on the host: boxes have no promise of a compiler."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks")
    sources = sorted(glob.glob(os.path.join(folder, name + "*.c")))
    target = os.path.join(str(tmp), name)
    if not os.path.exists(target):
        compiler = next((c for c in ("clang-19", "clang", "gcc", "cc") if which(c)), None)
        if not compiler:
            raise Skip("no C compiler on this machine")
        subprocess.run([compiler, "-static", "-O1", "-w", "-pthread", "-o", target, *sources, *flags], check=True)
    return target


def which(program):
    return next((p for d in os.environ.get("PATH", "").split(":") if os.access(p := os.path.join(d, program), os.X_OK)), None)


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def note(*words):
    print(" ", *words, file=sys.stdout, flush=True)
