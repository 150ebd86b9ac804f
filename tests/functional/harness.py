"""What functional tests share: a Glovebox in a directory of its own, and clients that know only its public interface.

    run(test) calls test(tmp) with an empty directory, and ends the program: 0 passed, 1 failed, 77 skipped.
"""
import base64
import contextlib
import hashlib
import http.client
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import leftovers  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("GLOVEBOX_BIN", os.path.join(ROOT, "build", "bin"))
START_LIMIT = 60   # seconds; generous, because machines that run tests are busy
STOP_LIMIT = 60
VERBOSE = "-v" in sys.argv


class Skip(Exception):
    pass


class TimeLimit(BaseException):
    """The test's time is up. Not an Exception, so that no `except` of a test takes it for one of its own."""


def skip(reason):
    """Ends the test: this machine lacks something it needs."""
    raise Skip(reason)


def need_root():
    if os.geteuid() != 0:
        skip("needs root: boxes are made of namespaces, mounts and cgroups")


def need_program(name):
    path = shutil.which(name)
    return path or skip(f"needs the program {name}")


def note(*words):
    """Shown with -v, and with the log of a failed test."""
    print(*words, flush=True)


def wait_for(what, condition, limit=20.0, pause=0.02):
    """Calls `condition` until it gives something true and returns that; fails naming `what` after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit:g} s")
        time.sleep(pause)


class Headers(dict):
    """Names compare without case."""

    def __init__(self, pairs=()):
        super().__init__((name.lower(), value) for name, value in pairs)

    def __getitem__(self, name):
        return super().__getitem__(name.lower())

    def __contains__(self, name):
        return super().__contains__(name.lower())

    def get(self, name, default=None):
        return super().get(name.lower(), default)


class Response:
    """An answer: .status, .headers, .body (bytes), .json."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, Headers(headers), body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def expect(self, *statuses):
        assert self.status in (statuses or (200, 201, 202, 204)), f"status {self.status}: {self.text[:2000]}"
        return self


class Api:
    """A client of one base URL. `host` goes into the Host header: the engine finds a box's data plane by it."""

    def __init__(self, url, key="", host="", timeout=60.0):
        parts = urllib.parse.urlsplit(url)
        self.address = (parts.hostname, parts.port)
        self.url, self.key, self.host, self.timeout = url, key, host or parts.netloc, timeout

    def headers(self, extra=None):
        headers = {"Host": self.host}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        headers.update(extra or {})
        return {name: value for name, value in headers.items() if value is not None}

    def open(self, method, path, body=None, headers=None, timeout=None):
        """(connection, http.client response): the caller reads and closes. `body` may be bytes, text or a JSON value."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout or self.timeout)
        send = self.headers(headers)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            send.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        connection.request(method, path, body=body, headers=send)
        return connection, connection.getresponse()

    def call(self, method, path, body=None, headers=None, timeout=None):
        connection, answer = self.open(method, path, body, headers, timeout)
        with contextlib.closing(connection):
            return Response(answer.status, answer.getheaders(), answer.read())

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.call("POST", path, body, **more)

    def put(self, path, body=None, **more):
        return self.call("PUT", path, body, **more)

    def patch(self, path, body=None, **more):
        return self.call("PATCH", path, body, **more)

    def delete(self, path, **more):
        return self.call("DELETE", path, **more)

    def events(self, method, path, body=None, headers=None, timeout=None):
        """Yields (event, data) of a stream of server-sent events until it ends. Close the generator to hang up."""
        connection, answer = self.open(method, path, body, {"Accept": "text/event-stream", **(headers or {})}, timeout)
        with contextlib.closing(connection):
            if answer.status != 200:
                raise AssertionError(f"status {answer.status}: {answer.read(2000).decode(errors='replace')}")
            kind, data = "message", []
            while line := answer.readline():
                line = line.decode().rstrip("\r\n")
                if not line:
                    if data:
                        yield kind, "\n".join(data)
                    kind, data = "message", []
                elif not line.startswith(":"):
                    name, _, value = line.partition(":")
                    value = value[1:] if value.startswith(" ") else value
                    if name == "event":
                        kind = value
                    elif name == "data":
                        data.append(value)

    def raw(self, data, timeout=10.0, half_close=False):
        """Sends bytes as they are and returns all that comes back until the other side closes or `timeout` passes."""
        with socket.create_connection(self.address, timeout=timeout) as connection:
            answer = b""
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, socket.timeout):
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    answer += piece
            return answer

    def websocket(self, path, headers=None, timeout=30.0):
        return WebSocket(self, path, headers, timeout)


class WebSocket:
    """A small RFC 6455 client: enough for terminals and for sending what nobody should send."""

    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

    def __init__(self, api, path, headers=None, timeout=30.0):
        self.socket = socket.create_connection(api.address, timeout=timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        send = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13",
                **api.headers(headers)}
        lines = [f"GET {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in send.items()]
        self.socket.sendall("\r\n".join(lines + ["", ""]).encode())
        self.stream = self.socket.makefile("rb")
        self.status = int(self.stream.readline().split()[1])
        self.headers = Headers()
        while (line := self.stream.readline().strip()):
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        if self.status == 101:
            accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            assert self.headers.get("sec-websocket-accept") == accept.decode(), "wrong Sec-WebSocket-Accept"
        self.close_code = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def refusal(self):
        """The body of an answer that was not 101."""
        return self.stream.read(int(self.headers.get("content-length", 0)))

    def send(self, data, opcode=None):
        if isinstance(data, str):
            data, opcode = data.encode(), opcode or self.TEXT
        head = bytes([0x80 | (opcode or self.BINARY)])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 65536:
            head += bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
        else:
            head += bytes([0x80 | 127]) + len(data).to_bytes(8, "big")
        mask = os.urandom(4)
        self.socket.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data)))

    def receive(self):
        """(opcode, bytes) of the next message; pings are answered; None when the other side closed."""
        message, kind = b"", None
        while True:
            head = self.stream.read(2)
            if len(head) < 2:
                return None
            final, opcode, length = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x7F
            if length >= 126:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            payload = self.stream.read(length)
            if opcode == self.PING:
                self.send(payload, self.PONG)
            elif opcode == self.CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
                with contextlib.suppress(OSError):
                    self.send(payload[:2], self.CLOSE)
                return None
            elif opcode != self.PONG:
                kind = opcode or kind
                message += payload
                if final:
                    return kind, message

    def close(self, code=1000):
        with contextlib.suppress(OSError):
            self.send(code.to_bytes(2, "big"), self.CLOSE)


class Box:
    """One sandbox, by its data plane."""

    def __init__(self, glovebox, record):
        self.glovebox, self.record = glovebox, record
        self.id = record.get("sandbox_id") or record["id"]
        self.name = record.get("name")
        self.api = Api(glovebox.url, glovebox.key, host=f"{self.id}.local")

    def run(self, command, *args, timeout=60.0, **spec):
        """Runs a program to its end: Done(exit_code, signal, stdout, stderr, oom_killed). Lines end in newlines again."""
        body = {"command": command, "args": list(args), "timeout": timeout, **spec}
        done = Done()
        for _, data in self.api.events("POST", "/api/v1/processes/run", body, timeout=timeout + 60):
            frame = json.loads(data)
            if "line" in frame:
                done.add(frame["stream"], frame["line"] + "\n")
            elif "exit_code" in frame or "signal" in frame:
                done.exit_code, done.signal = frame.get("exit_code"), frame.get("signal")
                done.oom_killed = frame.get("oom_killed", False)
            elif "pid" in frame:
                done.pid = frame["pid"]
        return done

    def sh(self, script, **spec):
        return self.run("/bin/bash", "-c", script, **spec)

    def start(self, command, *args, **spec):
        """Starts a program and returns its record."""
        return self.api.post("/api/v1/processes", {"command": command, "args": list(args), **spec}).expect(201).json

    def process(self, pid):
        return self.api.get(f"/api/v1/processes/{pid}").expect(200).json

    def lines(self, pid, stream="stdout"):
        return self.api.get(f"/api/v1/processes/{pid}/{stream}").expect(200).json["lines"]

    def write(self, path, data):
        self.api.put(f"/api/v1/files?path={urllib.parse.quote_plus(path)}",
                     data if isinstance(data, bytes) else data.encode()).expect(204)

    def read(self, path):
        return self.api.get(f"/api/v1/files?path={urllib.parse.quote_plus(path)}").expect(200).body

    def delete(self):
        self.glovebox.api.delete(f"{SANDBOXES}/{self.id}").expect()


class Done:
    def __init__(self):
        self.pid = self.exit_code = self.signal = None
        self.stdout = self.stderr = ""
        self.oom_killed = False

    def add(self, stream, text):
        setattr(self, stream, getattr(self, stream) + text)

    def ok(self):
        assert self.exit_code == 0, repr(self)
        return self

    def __repr__(self):
        how = f"exit {self.exit_code}" if self.signal is None else f"signal {self.signal}"
        return f"{how}, stdout {self.stdout[-2000:]!r}, stderr {self.stderr[-2000:]!r}"


SANDBOXES = "/v1/namespaces/default/sandboxes"


SYSTEM = ("engine", "brain", "orchestrator")  # all that sessions need


class Glovebox:
    """`glovebox up` on a state directory of its own and free ports. Leaving the block stops everything and checks that the
    machine is as it was: no process, mount or cgroup of this instance, and the test fails if there is one.

    Only the engine is started unless `parts` names others (SYSTEM: all). `model` is (url, key) of a Messages API, `scenario` a
    file for the rehearsal model, which answers when there is no `model`. `hosted` is (url, environment, key) of a queue elsewhere:
    then `up` decides by itself what it starts."""

    def __init__(self, tmp, environment=None, arguments=(), name="state", parts=("engine",), model=None, scenario=None, lease_ttl=None,
                 hosted=None):
        self.state = os.path.join(tmp, name)
        self.parts, self.only = list(parts), [f"--only={','.join(parts)}"]
        self.environment, self.arguments = dict(environment or {}), list(arguments)
        if model:
            self.environment |= {"GLOVEBOX_BRAIN_MODEL_URL": model[0], "ANTHROPIC_API_KEY": model[1]}
        if scenario:
            self.environment["GLOVEBOX_BRAIN_SCENARIO"] = str(scenario)
        if hosted:
            self.environment |= dict(zip(("ANTHROPIC_BASE_URL", "ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_ENVIRONMENT_KEY"), hosted))
            self.parts, self.only = ["engine", "orchestrator"], []
        if lease_ttl:
            self.environment["GLOVEBOX_BRAIN_LEASE_TTL_SECS"] = str(lease_ttl)
        self.log_path = os.path.join(tmp, name + ".log")
        self.config = os.path.join(tmp, name + ".toml")  # settings of this machine's own installation stay out
        self.program = os.path.join(BIN, "glovebox")
        self.process = None
        self.instance = ""

    def __enter__(self):
        need_root()
        assert os.path.exists(self.program), f"{self.program} is not there: run make first"
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        cleaned = self.stop_all()
        if kind is None:
            assert cleaned, f"glovebox down --all failed; see {self.log_path}"
            left = wait_gone(self.state, self.instance)
            assert not left, "left behind:\n  " + "\n  ".join(left)
        else:
            self.show_log()

    # --- life ---

    def start(self):
        """Starts (again) on the same state directory and waits until the parts answer."""
        endpoints = os.path.join(self.state, "run", "endpoints.json")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(endpoints)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        environment |= {k: v for k, v in os.environ.items() if k in ("TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
        # No test but those of the network itself changes how this machine passes packets on.
        environment |= {"GLOVEBOX_ENGINE_DEFAULT_NETWORK": "none"}
        environment |= {"GLOVEBOX_CONFIG": self.config, "GLOVEBOX_BRAIN_LISTEN": "127.0.0.1:0",
                        "GLOVEBOX_INGRESS_LISTEN": "127.0.0.1:0", **self.environment}
        with open(self.config, "a"):
            pass
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "up", "--state", self.state, "--listen", "127.0.0.1:0", *self.only, *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        if "engine" in self.parts:
            self.url = wait_for("glovebox up", lambda: self._url("engine"), START_LIMIT)
            self.key = self.secret("engine")
            self.api = Api(self.url, self.key)
            wait_for("the engine's answer", self._up, START_LIMIT)
            with open(os.path.join(self.state, "engine", "instance")) as file:
                self.instance = file.read().strip()  # in the name of everything this instance gives the kernel
        if "brain" in self.parts:
            url = wait_for("glovebox up", lambda: self._url("brain"), START_LIMIT)
            self.brain_key = self.secret("brain")
            self.brain = Api(url, self.brain_key)
            wait_for("the brain's answer", lambda: self._check_alive() or self.brain_answers(), START_LIMIT)
        wait_for("every part", lambda: self._check_alive() or all(self.part(name).get("pid") for name in self.parts), START_LIMIT)

    def _check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError(f"glovebox up ended with {self.process.returncode}")

    def part(self, name):
        """What the supervisor publishes about a part; {} while there is nothing."""
        try:
            with open(os.path.join(self.state, "run", "endpoints.json")) as file:
                return json.load(file)["parts"][name]
        except (OSError, ValueError, KeyError):
            return {}

    def secret(self, name):
        with open(os.path.join(self.state, "keys", name)) as file:
            return file.read().strip()

    def _url(self, part):
        self._check_alive()
        return (self.part(part).get("url") or "").rstrip("/")

    def _up(self):
        self._check_alive()
        return self.answers()

    def answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.api.get(f"{SANDBOXES}?limit=1", timeout=5).status == 200
        return False

    def brain_answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.brain.get("/glovebox/v1/status", timeout=5).status == 200
        return False

    def down(self, *arguments):
        """`glovebox down`: the parts stop, boxes live on unless `--all` is given."""
        done = self.cli("down", *arguments)
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT)
        return done

    def stop_all(self):
        ok = False
        try:
            done = self.down("--all")
            ok = done.returncode == 0
            if not ok:
                note(f"glovebox down --all: exit {done.returncode}\n{done.stdout}{done.stderr}")
        except Exception as error:  # whatever it is, what follows must run
            note(f"glovebox down --all: {error}")
        if self.process and self.process.poll() is None:
            note("glovebox up was still running and is killed")
            ok = False
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if not ok:
            self.scrub()
        return ok

    def scrub(self):
        """The last resort after a failure: nothing of a failed test may disturb the next one."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # killed processes hold their cgroups for a moment
            for pid, _ in leftovers.processes(self.state, self.instance):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for path in leftovers.cgroups(self.instance) if self.instance else []:
                for top, _, _ in os.walk(path, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(top)
            for point in reversed(leftovers.mounts(self.state)):
                subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)
            for path in leftovers.claims(self.state):
                with contextlib.suppress(OSError):
                    os.unlink(path)
            if not leftovers.describe(self.state, self.instance):
                return
            time.sleep(0.1)

    # --- what tests ask ---

    def command(self, *words):
        """(arguments, environment) of the command line as a client of this instance."""
        return [self.program, *words], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.path.dirname(self.state), "LANG": "C.UTF-8",
                                        "GLOVEBOX_STATE": self.state, "GLOVEBOX_CONFIG": self.config}

    def cli(self, *words, input=None, timeout=120, environment=None, text=True):
        """Runs it to its end."""
        command, own = self.command(*words)
        return subprocess.run(command, input=input, stdin=None if input is not None else subprocess.DEVNULL,
                              capture_output=True, text=text, timeout=timeout, env={**own, **(environment or {})})

    def create(self, **spec):
        return Box(self, self.api.post(SANDBOXES, spec).expect(200, 201).json)

    def get(self, id_or_name):
        return self.api.get(f"{SANDBOXES}/{id_or_name}")

    def pids(self, *words):
        """Processes of this instance whose command line holds all of `words`."""
        return [pid for pid, command in leftovers.processes(self.state, self.instance) if all(word in command for word in words)]

    def pid(self, part):
        """A part's process; 0 while there is none."""
        return self.part(part).get("pid", 0)

    def engine_pid(self):
        return self.pid("engine")

    def engine_path(self, *names):
        """A path below the engine's state directory as the engine sees it: the pool is mounted for it alone."""
        return os.path.join(f"/proc/{self.engine_pid()}/root{self.state}", "engine", *names)

    def kill_part(self, part, wait=True):
        """SIGKILL: no chance to say goodbye. The supervisor starts a new one; waits until that answers. Returns the old pid."""
        pid = wait_for(f"a process of {part}", lambda: self.pid(part))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if wait:
            wait_for(f"the end of {part}", lambda: not os.path.exists(f"/proc/{pid}"))
            wait_for(f"the new {part}", lambda: self.pid(part) not in (0, pid), START_LIMIT)
            ready = {"engine": self.answers, "brain": self.brain_answers}.get(part)
            if ready:
                wait_for(f"the new {part}'s answer", ready, START_LIMIT)
        return pid

    def kill_engine(self):
        return self.kill_part("engine")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def show_log(self, lines=80):
        with contextlib.suppress(OSError):
            note("--- glovebox log (end)\n" + "\n".join(self.log().splitlines()[-lines:]) + "\n---")


def wait_gone(state, instance, limit=15.0):
    """What is left of an instance once it had time to go."""
    deadline = time.monotonic() + limit
    while True:
        left = leftovers.describe(state, instance)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def labels_of(docstring):
    last = (docstring or "").strip().splitlines()[-1:]
    return last[0].removeprefix("labels:").split() if last and last[0].startswith("labels:") else []


def time_is_up(*_):
    raise TimeLimit("the test's time limit passed")


def run(*tests):
    """Runs each test with an empty directory. With --list names them; words on the command line pick some."""
    main = sys.modules["__main__"]
    if "--list" in sys.argv:
        print((main.__doc__ or "").strip())
        for test in tests:
            print(f"  {test.__name__}: {(test.__doc__ or '').strip().splitlines()[0] if test.__doc__ else ''}")
        sys.exit(0)
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    # At its time limit a test gets SIGTERM: as an exception, so that the blocks it stands in clean up.
    signal.signal(signal.SIGTERM, time_is_up)
    failed, skipped, ran = [], [], 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        tmp = tempfile.mkdtemp(prefix="gb-")
        os.chmod(tmp, 0o755)  # ids that are nobody here enter the roots of boxes below it
        started = time.monotonic()
        try:
            if "privileged" in labels_of(main.__doc__):
                need_root()
            test(tmp) if inspect.signature(test).parameters else test()
        except Skip as reason:
            skipped.append(str(reason))
            note(f"{test.__name__}: skipped: {reason}")
            shutil.rmtree(tmp, ignore_errors=True)
            continue
        except BaseException:
            failed.append(test.__name__)
            traceback.print_exc()
            note(f"{test.__name__}: FAILED; directory kept: {tmp}")
            continue
        ran += 1
        note(f"{test.__name__}: ok, {time.monotonic() - started:.1f} s")
        shutil.rmtree(tmp)
    if failed:
        sys.exit(1)
    if skipped and not ran:
        print(skipped[-1])
        sys.exit(77)
    sys.exit(0)
