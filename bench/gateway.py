"""Measures the ingress beside nginx and Caddy (Debian's), each in front of the same upstream in the same run: requests for a second of one
core, the latency it adds, how soon a sandbox that sleeps answers, and how soon a webhook has become a tool's result.

    make bench BENCH_ONLY=gateway                              optimized build; table, and JSON in build-release/bench.json
    bench/gateway.py --build build --only proxy --seconds 3    a part, shorter, of the build at hand

Needs nginx (it is the upstream, too) and wrk; Caddy where it is there. What of them is not installed is fetched from Debian and unpacked
below ~/.cache/glovebox-bench, without being installed.
"""
import argparse
import contextlib
import glob
import os
import re
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement of throughput (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, in turns (default: 5)")
    parser.add_argument("--requests", type=int, default=2000, help="one after the other, for latency (default: 2000)")
    parser.add_argument("--wakes", type=int, default=25, help="of a sandbox that sleeps (default: 25)")
    parser.add_argument("--only", default="", help="comma-separated: proxy, wake, webhook")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench-gateway.json)")
    return parser.parse_args()


ARGS = arguments()
BUILD = os.path.abspath(ARGS.build)
os.environ["GLOVEBOX_BIN"] = os.path.join(BUILD, "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import harness  # noqa: E402  (needs GLOVEBOX_BIN)
from fake_messages import FakeMessages, stream, text, tool  # noqa: E402
from modes import WebhookSandbox, WebhookSandboxOutside  # noqa: E402
from report import alone, paired, publish, summary, when  # noqa: E402
from sessions import Brain  # noqa: E402

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "glovebox-bench")
UNPACKED = os.path.join(CACHE, "root")
LIBRARIES = os.path.join(UNPACKED, "usr/lib/x86_64-linux-gnu")
CONNECTIONS = 32
DOMAIN = "glovebox.localhost"
TICK = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; worker_processes 1; error_log stderr crit; pid {tmp}/nginx-{port}.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300;
  client_body_temp_path {tmp}/b{port}; proxy_temp_path {tmp}/p{port}; fastcgi_temp_path {tmp}/f{port}; uwsgi_temp_path {tmp}/u{port}; scgi_temp_path {tmp}/s{port};
  {more}
}}
"""
ANSWERS = 'server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ return 200 "hello from upstream\\n"; }} }}'
PASSES = ("upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }} "
          'server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; '
          "proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }} }}")


def program(name):
    for path in (shutil.which(name), os.path.join(UNPACKED, "usr/sbin", name), os.path.join(UNPACKED, "usr/bin", name)):
        if path and os.access(path, os.X_OK):
            return path
    return None


def fetch():
    """What is neither installed nor unpacked here, from Debian. Without a network it stays away, and is named."""
    packages = {"nginx": ("nginx",), "wrk": ("wrk", "libluajit-5.1-2"), "caddy": ("caddy",)}
    missing = [package for name, needed in packages.items() if not program(name) for package in needed]
    if not missing or not shutil.which("apt-get"):
        return
    print(f"fetching {', '.join(missing)} …", file=sys.stderr, flush=True)
    os.makedirs(CACHE, exist_ok=True)
    subprocess.run(["apt-get", "download", *missing], cwd=CACHE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    for package in glob.glob(os.path.join(CACHE, "*.deb")):
        subprocess.run(["dpkg", "-x", package, UNPACKED], check=False)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@contextlib.contextmanager
def running(*words, port, home):
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "HOME": home})
    try:
        harness.wait_for(words[0], lambda: listens(port), 30)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


def nginx(tmp, port, more):
    path = os.path.join(tmp, f"nginx-{port}.conf")
    with open(path, "w") as file:
        file.write(NGINX.format(tmp=tmp, port=port, more=more.format(port=port)))
    return running(program("nginx"), "-c", path, "-p", tmp, port=port, home=tmp)


def caddy(tmp, port, upstream):
    path = os.path.join(tmp, "Caddyfile")
    with open(path, "w") as file:
        file.write("{\n admin off\n auto_https off\n}\n" f"http://127.0.0.1:{port}, http://hello.test:{port} {{\n"
                   f" reverse_proxy 127.0.0.1:{upstream}\n}}\n")
    return running(program("caddy"), "run", "--config", path, "--adapter", "caddyfile", port=port, home=tmp)


def family(pid):
    """A process and its children."""
    found = [pid]
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
            if int(file.read().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry))
    return found


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
            total += int(words[11]) + int(words[12])
    return total / TICK


class Side:
    """A proxy: where it is, by which name, and what it costs."""

    def __init__(self, name, port, host, pid):
        self.name, self.port, self.host, self.pid = name, port, host, pid

    def load(self):
        """(requests a second, requests a second of its own processor time)"""
        pids, before = family(self.pid), None
        before = cpu_seconds(pids)
        done = subprocess.run([program("wrk"), "-t", "1", "-c", str(CONNECTIONS), "-d", f"{ARGS.seconds:g}s", "-H", f"Host: {self.host}",
                               f"http://127.0.0.1:{self.port}/"], capture_output=True, text=True, check=True, env={"LD_LIBRARY_PATH": LIBRARIES})
        used = cpu_seconds(pids) - before
        assert "Non-2xx" not in done.stdout, done.stdout
        requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
        return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]), requests / used if used else 0.0

    def request(self):
        return f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def latencies(self, number):
        """Seconds of each of so many requests, one after the other on one connection."""
        request, found = self.request(), []
        with self.connect() as connection:
            for _ in range(number):
                start = time.perf_counter()
                connection.sendall(request)
                answer = connection.recv(65536)
                while not answer.endswith(b"hello from upstream\n") and not answer.endswith(b"\r\n0\r\n\r\n"):
                    piece = connection.recv(65536)
                    assert piece, "cut short"
                    answer += piece
                found.append(time.perf_counter() - start)
                assert b" 200 " in answer[:16], answer[:200]
        return found[number // 10:]

    def crowd(self, number):
        """Seconds to the first byte of so many requests, sent in the same moment on connections that were there before."""
        request, found = self.request(), []
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            connections = [stack.enter_context(self.connect()) for _ in range(number)]
            for connection in connections:
                selector.register(connection, selectors.EVENT_READ)
            start = time.perf_counter()
            for connection in connections:
                connection.sendall(request)
            while len(found) < number:
                ready = selector.select(60)
                assert ready, "no answer"
                now = time.perf_counter() - start
                for key, _ in ready:
                    answer = key.fileobj.recv(65536)
                    assert b" 200 " in answer[:16], answer[:200]
                    found.append(now)
                    selector.unregister(key.fileobj)
        return found


def turns(sides, measure):
    """What each side's rounds found, in turns so that a machine's moods are everybody's."""
    found = {side.name: [] for side in sides}
    for turn in range(ARGS.rounds):
        for side in sides[::-1] if turn % 2 else sides:
            found[side.name].append(measure(side))
    return found


def place_upstream(box, port, tmp):
    """nginx in the box, with the configuration the one outside has."""
    with open(program("nginx"), "rb") as file:
        box.write("/tmp/nginx", file.read())
    box.write("/tmp/nginx.conf", NGINX.format(tmp="/tmp", port=port, more=ANSWERS.format(port=port)))
    box.sh("chmod +x /tmp/nginx").ok()
    box.start("/tmp/nginx", "-c", "/tmp/nginx.conf", "-p", "/tmp")
    probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2).close()"
    harness.wait_for("nginx in the box", lambda: box.run("python3", "-c", probe).exit_code == 0, 60)


def proxies(tmp, gb, stack):
    """(nginx alone, then what passes on: ours first)"""
    upstream = free_port()
    pid = stack.enter_context(nginx(tmp, upstream, ANSWERS))
    alone = Side("upstream alone", upstream, "hello.test", pid)
    box = gb.create(name="hello", exposed_ports=[8000], allow_unauthenticated_access=True)
    place_upstream(box, 8000, tmp)
    sides = [Side("ours", int(gb.part("ingress")["url"].rsplit(":", 1)[1]), f"8000-hello.{DOMAIN}", gb.pid("ingress"))]
    port = free_port()
    sides.append(Side("nginx", port, "hello.test", stack.enter_context(nginx(tmp, port, PASSES.replace("{upstream}", str(upstream))))))
    if program("caddy"):
        port = free_port()
        sides.append(Side("Caddy", port, "hello.test", stack.enter_context(caddy(tmp, port, upstream))))
    return alone, sides


def measure_proxy(tmp, gb, rows):
    with contextlib.ExitStack() as stack:
        alone_, sides = proxies(tmp, gb, stack)
        print("measuring throughput …", file=sys.stderr, flush=True)
        loads = turns(sides, Side.load)
        print("measuring latency …", file=sys.stderr, flush=True)
        took = turns([alone_, *sides], lambda side: summary(side.latencies(ARGS.requests // ARGS.rounds))["median"])
    added = {name: [median - direct for median, direct in zip(medians, took[alone_.name])] for name, medians in took.items()}
    for side in sides[1:]:
        ours, theirs = loads["ours"], loads[side.name]
        rows.append(paired(f"requests for a second of the processor, beside {side.name}", [(a[1], b[1]) for a, b in zip(ours, theirs)], side.name, "1/s", 1))
        rows.append(paired("  requests a second; the load and the upstream share the processors", [(a[0], b[0]) for a, b in zip(ours, theirs)], side.name,
                           "1/s", 1))
        rows.append(paired(f"  latency added, beside {side.name}", list(zip(added["ours"], added[side.name])), side.name))
    rows.append(alone("latency the ingress adds", added["ours"]) | {"against": "nothing between"})


class Sleeper:
    """A sandbox that answers at its port once it is awake."""

    def __init__(self, gb, name, **spec):
        self.gb = gb
        self.box = gb.create(name=name, exposed_ports=[8000], allow_unauthenticated_access=True, **spec)
        place_upstream(self.box, 8000, "/tmp")
        self.side = Side(name, int(gb.part("ingress")["url"].rsplit(":", 1)[1]), f"8000-{name}.{DOMAIN}", gb.pid("ingress"))

    def state(self):
        record = self.gb.get(self.box.id).json
        return record["status"], record.get("tier")

    def suspend(self):
        self.gb.api.post(f"{harness.SANDBOXES}/{self.box.id}/suspend").expect(200, 202)
        harness.wait_for("its sleep", lambda: self.state()[0] == "suspended", 60)

    def first_byte(self):
        return self.side.latencies(1)[0]


def measure_wake(tmp, gb, rows):
    one = Sleeper(gb, "sleeper")
    paused, suspended, crowds, awake = [], [], [], []

    def pause():
        harness.wait_for("its pause", lambda: one.state()[1] == "paused", 60)

    for _ in range(ARGS.wakes):
        pause()
        paused.append(one.first_byte())
        awake.append(one.first_byte())
    for _ in range(ARGS.wakes):
        one.suspend()
        suspended.append(one.first_byte())
    for _ in range(max(3, ARGS.wakes // 5)):
        pause()
        crowds.append(one.side.crowd(100))
    rows.append(alone("wake from pause to first byte", paused))
    rows.append(paired("  beside one that is awake", list(zip(paused, awake)), "awake"))
    rows.append(alone("wake from suspension to first byte", suspended))
    rows.append(alone("wake from pause, 100 requests at once, each", [took for crowd in crowds for took in crowd]))
    rows.append(alone("  the last of them", [max(crowd) for crowd in crowds]))


def measure_webhook(tmp, gb, rows, fake, runner, where):
    """From the moment the brain has stored what somebody said, which makes it send a signed webhook, to the moment it has stored the first
    tool's result: the receiver's sandbox wakes, work is claimed, a sandbox for the session is made, the model (a fake one) is asked."""
    brain = Brain(gb.brain.url, gb.brain_key)
    fake.script("case:hook", [stream(tool("bash", {"command": "echo ready"})), stream(text("end"))])
    agent, place = brain.agent("hook")["id"], brain.status()["default_environment_id"]

    def once():
        session = brain.session(agent, place)["id"]
        brain.say(session, "case:hook")
        events = brain.settled(session, 120)
        first = {kind: next(event for event in events if event["type"] == kind) for kind in ("user.message", "user.tool_result")}
        return when(first["user.tool_result"]) - when(first["user.message"])

    asleep, awake = [], []
    with runner(gb, brain, tmp) as mode:
        once()
        for _ in range(max(3, ARGS.wakes // 3)):
            mode.asleep()
            asleep.append(once())
            awake.append(once())
    rows.append(alone(f"webhook to the first tool result, runner {where}, receiver asleep", asleep))
    rows.append(alone("  the receiver awake", awake))


LOOSE = {"GLOVEBOX_INGRESS_SOURCE_REQUESTS_PER_SECOND": "1000000", "GLOVEBOX_INGRESS_SOURCE_WAKES_PER_MINUTE": "1000000",
         "GLOVEBOX_INGRESS_ACCESS_LOG": "false"}
PARTS = {"proxy": (measure_proxy, {}), "wake": (measure_wake, {"GLOVEBOX_ENGINE_PAUSE_AFTER_SECS": "1"})}
RUNNERS = {"inside": WebhookSandbox, "outside": WebhookSandboxOutside}


@contextlib.contextmanager
def instance(**how):
    with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp:
        os.chmod(tmp, 0o755)
        with harness.Glovebox(tmp, **how) as gb:
            yield tmp, gb


def started(name, rows):
    """Each in an instance of its own."""
    if name != "webhook":
        function, settings = PARTS[name]
        with instance(environment=LOOSE | settings, parts=["engine", "ingress"]) as (tmp, gb):
            return function(tmp, gb, rows)
    for where, runner in RUNNERS.items():
        with FakeMessages() as fake, instance(environment=runner.settings, parts=runner.parts, model=(fake.url, fake.key)) as (tmp, gb):
            measure_webhook(tmp, gb, rows, fake, runner, where)


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root: the parts have users of their own")
    names = (*PARTS, "webhook")
    wanted, skipped, rows = [name for name in ARGS.only.split(",") if name] or names, {}, []
    if unknown := set(wanted) - set(names):
        sys.exit(f"bench: no measurement called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    fetch()
    if not program("caddy"):
        skipped["Caddy"] = "it is not there, and could not be fetched"
    for name in wanted:
        if name != "webhook" and not (program("nginx") and program("wrk")):
            skipped[name] = "nginx or wrk is not there, and could not be fetched"
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started(name, rows)
    publish(rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench-gateway.json"))


main()
