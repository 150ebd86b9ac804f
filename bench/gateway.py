"""Measures the ingress beside nginx and Caddy (Debian's), each in front of the same upstream in the same run: requests for a second of one
core, the latency it adds, and how soon a sandbox that sleeps answers.

    make bench                                          optimized build; table, and JSON in build-release/bench-gateway.json
    bench/gateway.py --build build --seconds 3          shorter, of the build at hand

Needs nginx (it is the upstream, too) and wrk; Caddy where it is there. They need not be installed:
    cd ~/.cache/glovebox-bench && apt-get download nginx wrk libluajit-5.1-2 caddy && for d in *.deb; do dpkg -x $d root; done
"""
import argparse
import concurrent.futures
import contextlib
import os
import re
import resource
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
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement of throughput (default: 5)")
    parser.add_argument("--rounds", type=int, default=4, help="of each side, in turns (default: 4)")
    parser.add_argument("--requests", type=int, default=1500, help="one after the other, for latency (default: 1500)")
    parser.add_argument("--wakes", type=int, default=40, help="of a sandbox that sleeps (default: 40)")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench-gateway.json)")
    return parser.parse_args()


ARGS = arguments()
BUILD = os.path.abspath(ARGS.build)
os.environ["GLOVEBOX_BIN"] = os.path.join(BUILD, "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import harness  # noqa: E402  (needs GLOVEBOX_BIN)
from report import publish, scaled, summary  # noqa: E402

UNPACKED = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "glovebox-bench", "root")
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

    def latencies(self, number):
        """Seconds of each of so many requests, one after the other on one connection."""
        request = f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        found = []
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def turns(sides, measure):
    """Each side's findings, in turns so that a machine's moods are everybody's."""
    found = {side.name: [] for side in sides}
    for turn in range(ARGS.rounds):
        for side in sides[::-1] if turn % 2 else sides:
            found[side.name] += measure(side)
    return found


def row(name, unit, ours, theirs=None, against="", by=1.0, most=None, least=None):
    made = {"name": name, "unit": unit, "rounds": len(ours), "ours": scaled(summary(ours), by), "against": against}
    if theirs:
        made["theirs"] = scaled(summary(theirs), by)
        ratio = summary(ours)["median"] / summary(theirs)["median"]
        made["ratio"] = {"min": ratio, "median": ratio, "p99": ratio}
    if most is not None or least is not None:
        made["goal"] = {"seen": made["ratio" if theirs else "ours"]["median"]} | ({"limit": most} if least is None else {"least": least})
    return made


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


def measure(tmp, gb, rows):
    with contextlib.ExitStack() as stack:
        alone, sides = proxies(tmp, gb, stack)
        print("measuring throughput …", file=sys.stderr, flush=True)
        loads = turns(sides, lambda side: [side.load()])
        print("measuring latency …", file=sys.stderr, flush=True)
        took = turns([alone, *sides], lambda side: side.latencies(ARGS.requests // ARGS.rounds))
    direct = summary(took["upstream alone"])["median"]
    for side in sides[1:]:
        nginx_it_is = side.name == "nginx"
        rows.append(row(f"requests a second of one core, beside {side.name}", "1/s", [b for _, b in loads["ours"]], [b for _, b in loads[side.name]],
                        side.name, least=0.7 if nginx_it_is else None))
        rows.append(row(f"  requests a second, machine shared with load and upstream, beside {side.name}", "1/s", [a for a, _ in loads["ours"]],
                        [a for a, _ in loads[side.name]], side.name))
        rows.append(row(f"latency added to one request, beside {side.name}", "ms", [t - direct for t in took["ours"]],
                        [t - direct for t in took[side.name]], side.name, by=1e3))
    rows.append(row("latency added to one request", "ms", [t - direct for t in took["ours"]], by=1e3, most=0.2))


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


def wakes(gb, rows):
    print("measuring wakes …", file=sys.stderr, flush=True)
    one = Sleeper(gb, "sleeper")
    paused, suspended = [], []
    for _ in range(ARGS.wakes):
        harness.wait_for("its pause", lambda: one.state()[1] == "paused", 60)
        paused.append(one.first_byte())
    for _ in range(ARGS.wakes):
        one.suspend()
        suspended.append(one.first_byte())
    rows.append(row("wake from pause to first byte", "ms", paused, by=1e3, most=5))
    rows.append(row("wake from suspension to first byte", "ms", suspended, by=1e3))
    crowd = []
    for _ in range(5):
        one.suspend()
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            crowd += pool.map(lambda _: one.first_byte(), range(100))
    rows.append(row("  100 requests at once for one that is suspended", "ms", crowd, by=1e3))


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root: the parts have users of their own")
    skipped, rows = {}, []
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if not (program("nginx") and program("wrk")):
        skipped["gateway"] = "needs nginx and wrk; bench/gateway.py --help says how to get them without installing them"
        return publish(rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench-gateway.json"))
    if not program("caddy"):
        skipped["Caddy"] = "it is not there"
    loose = {"GLOVEBOX_INGRESS_SOURCE_REQUESTS_PER_SECOND": "1000000", "GLOVEBOX_INGRESS_SOURCE_WAKES_PER_MINUTE": "1000000",
             "GLOVEBOX_INGRESS_ACCESS_LOG": "false"}
    for settings, part in ((loose, lambda tmp, gb: measure(tmp, gb, rows)),
                           (loose | {"GLOVEBOX_ENGINE_PAUSE_AFTER_SECS": "1"}, lambda tmp, gb: wakes(gb, rows))):
        with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp:
            os.chmod(tmp, 0o755)
            with harness.Glovebox(tmp, environment=settings, parts=["engine", "ingress"]) as gb:
                part(tmp, gb)
    publish(rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench-gateway.json"))


main()
