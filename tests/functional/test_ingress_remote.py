"""From another machine (a network of its own) the official npm SDKs and our own command line work through api.{domain} and
sandbox.{domain}, under TLS with the local authority; plain requests from there are sent to TLS.
labels: privileged timeout=900
"""
import contextlib
import json
import os
import shutil
import subprocess

from fake_messages import FakeMessages
from harness import SYSTEM, Glovebox, run, wait_for
from ingress_clients import new_secret, serve, signed, verify_port
from network_world import Place, join, own_network, sh
from node_packages import HERE, PACKAGES, installed, node
from sdk_cases import scripts
from support import Checks, equal

DOMAIN, HERE_IS, THERE_IS, PORT = "boxes.example.test", "192.168.77.2", "192.168.77.1", 9443
API, SANDBOX = f"https://api.{DOMAIN}:{PORT}", f"https://sandbox.{DOMAIN}:{PORT}"


class Machine:
    """Another machine, as far as software can tell: a network of its own behind a link, with names of ours in its /etc/hosts."""

    def __init__(self, place, tmp):
        self.place, self.tmp, self.hosts = place, tmp, os.path.join(tmp, "hosts")
        self.ca = os.path.join(tmp, "ca.pem")
        self.name("api", "sandbox")

    def name(self, *labels):
        with open(self.hosts, "a") as file:
            file.write("".join(f"{HERE_IS} {label}.{DOMAIN}\n" for label in labels))

    def command(self, *words):
        inner = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["nsenter", "-t", str(self.place.keeper.pid), "-n", "unshare", "--mount", "sh", "-c", inner, self.hosts, *words]

    def run(self, *words, environment=None, timeout=400, trust=True):
        env = {"PATH": "/usr/bin:/bin", "HOME": self.tmp, **(environment or {})}
        if trust:
            env |= {"SSL_CERT_FILE": self.ca, "NODE_EXTRA_CA_CERTS": self.ca}
        return subprocess.run(self.command(*words), capture_output=True, text=True, env=env, timeout=timeout)

    def curl(self, *words, trust=True):
        """(status, what curl wrote) or (exit code of curl as a negative number, its words)."""
        done = self.run("curl", "-sS", "-m", "30", "-o", "-", "-w", "\n%{http_code}", *words, trust=trust)
        if done.returncode:
            return -done.returncode, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


def play(machine, folder, scripts, environment):
    place = os.path.join(folder, f"remote-{os.getpid()}")  # imports are looked up beside the script
    os.makedirs(place)
    try:
        for script in scripts:
            shutil.copy(os.path.join(HERE, "sdk", script), place)
        done = machine.run(node(folder), os.path.join(place, scripts[-1]), environment=environment)
    finally:
        shutil.rmtree(place)
    print(done.stdout, end="", flush=True)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-6000:]}"


@contextlib.contextmanager
def machines(tmp):
    own_network()
    place = Place()
    try:
        join(place, "up0", "down0", [f"{HERE_IS}/24"], [f"{THERE_IS}/24"])
        yield Machine(place, tmp)
    finally:
        place.end()
        sh("ip", "link", "del", "up0", check=False)


def test(tmp):
    check = Checks()
    folder = installed(PACKAGES)
    settings = {"GLOVEBOX_INGRESS_LISTEN": f"0.0.0.0:{PORT}", "GLOVEBOX_INGRESS_DOMAIN": DOMAIN}
    with machines(tmp) as machine, FakeMessages() as fake, Glovebox(tmp, environment=settings, parts=(*SYSTEM, "ingress"),
                                                                     model=(fake.url, fake.key)) as gb:
        with open(machine.ca, "w") as file:
            file.write(gb.cli("ca").stdout)
        with check("without the authority nobody is fooled"):
            status, said = machine.curl(API + "/healthz", trust=False)
            equal(status, -60, said)
        with check("with it, both APIs answer under their names"):
            equal(machine.curl(API + "/healthz")[0], 200)
            equal(machine.curl(SANDBOX + "/healthz")[0], 200)
            equal(machine.curl(SANDBOX + "/sandboxes")[0], 401)
        with check("other ports of this machine are closed to it"):
            for url in (gb.url, gb.brain.url):
                status, said = machine.curl(url.replace("127.0.0.1", HERE_IS) + "/healthz")
                assert status < 0, (url, status, said)
        with check("a plain request is sent to TLS, with its path"):
            done = machine.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-X", "POST", "-d", "x",
                               API.replace("https", "http") + "/v1/agents?limit=1")
            equal(done.stdout, f"308 {API}/v1/agents?limit=1")
        with check("the sandbox SDK"):
            play(machine, folder, ["sandbox.mjs"], {"TENSORLAKE_API_URL": API, "TENSORLAKE_API_KEY": gb.key})
        with check("the agents SDK"):
            scripts(fake)
            environment = gb.brain.get("/glovebox/v1/status").expect(200).json["default_environment_id"]
            play(machine, folder, ["common.mjs", "brain.mjs"],
                 {"ANTHROPIC_BASE_URL": API, "ANTHROPIC_API_KEY": gb.brain_key, "TEST_ENVIRONMENT_ID": environment,
                  "TEST_ENVIRONMENT_KEY": gb.secret("environment")})
        with check("our own command line"):
            at = {"TENSORLAKE_API_URL": API, "TENSORLAKE_API_KEY": gb.key, "GLOVEBOX_STATE": os.path.join(tmp, "nowhere"), "LANG": "C.UTF-8"}
            program = gb.program
            refused = machine.run(program, "sandbox", "ls", environment=at, trust=False)
            assert refused.returncode == 1 and "certificate" in refused.stderr, refused.stderr
            at["GLOVEBOX_CA_FILE"] = machine.ca
            made = machine.run(program, "sandbox", "create", "--json", "far", environment=at, trust=False)
            assert made.returncode == 0, made.stderr
            ran = machine.run(program, "sandbox", "exec", "far", "--", "echo", "from far away", environment=at, trust=False)
            equal((ran.returncode, ran.stdout), (0, "from far away\n"), ran.stderr)
        with check("a port of a sandbox, and a delivery for one"):
            box = gb.create(name="web", exposed_ports=[8000], allow_unauthenticated_access=True)
            serve(box, 8000, 5051)
            secret = new_secret()
            verify_port(gb, box, 5051, secret)
            machine.name("8000-web", "5051-web")
            status, said = machine.curl(f"https://8000-web.{DOMAIN}:{PORT}/hello")
            equal((status, json.loads(said)["path"]), (200, "/hello"))
            seen = dict((name.lower(), value) for name, value in json.loads(said)["headers"])
            equal((seen["x-forwarded-for"], seen["x-forwarded-proto"]), (THERE_IS, "https"))
            lines = [word for name, value in signed(secret, b"{}").items() for word in ("-H", f"{name}: {value}")]
            url = f"https://5051-web.{DOMAIN}:{PORT}/"
            equal(machine.curl("-d", "{}", url)[0], 401)
            equal(machine.curl("-d", "{}", *lines, url)[0], 200)
        with check("an operator's certificate, exchanged while connections stand"):
            own_certificate(gb, machine, tmp)
    check.done()


def certificate(tmp, name, days):
    """An authority of the operator's, and a certificate signed by it: (authority's file, certificate, key)."""
    base = os.path.join(tmp, name)
    names = f"subjectAltName=DNS:{DOMAIN},DNS:*.{DOMAIN}"
    for words in (["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", base + "-ca.key", "-out",
                   base + "-ca.pem", "-subj", f"/CN={name} authority", "-days", "30"],
                  ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", base + ".key", "-out", base + ".csr",
                   "-subj", f"/CN={name}", "-addext", names]):
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    with open(base + ".ext", "w") as file:
        file.write(names + "\n")
    subprocess.run(["openssl", "x509", "-req", "-in", base + ".csr", "-CA", base + "-ca.pem", "-CAkey", base + "-ca.key", "-CAcreateserial",
                    "-out", base + ".pem", "-days", str(days), "-extfile", base + ".ext"], check=True, capture_output=True)
    return base + "-ca.pem", base + ".pem", base + ".key"


def own_certificate(gb, machine, tmp):
    gb.down()
    live = os.path.join(tmp, "live")
    os.mkdir(live)
    first, second = certificate(tmp, "first", 20), certificate(tmp, "second", 20)

    def put(made):
        for path, name in ((made[2], "key.pem"), (made[1], "cert.pem")):  # as renewing programs do: a new file in the place of the old
            shutil.copy(path, os.path.join(live, name + ".new"))
            os.chmod(os.path.join(live, name + ".new"), 0o600)
            os.rename(os.path.join(live, name + ".new"), os.path.join(live, name))

    def trusted(ca):
        machine.ca = ca
        return machine.curl(API + "/healthz")[0] == 200

    put(first)
    gb.environment |= {"GLOVEBOX_INGRESS_CERTIFICATE": os.path.join(live, "cert.pem"),
                       "GLOVEBOX_INGRESS_CERTIFICATE_KEY": os.path.join(live, "key.pem")}
    gb.start()
    wait_for("the operator's certificate", lambda: trusted(first[0]), 60)
    assert not trusted(second[0])
    # A connection that stands over the exchange is not cut.
    script = ("import ssl,socket,sys,time\n"
              f"c=ssl.create_default_context(cafile={first[0]!r}).wrap_socket(socket.create_connection(('{HERE_IS}',{PORT})),server_hostname='api.{DOMAIN}')\n"
              "def get():\n"
              f" c.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: api.{DOMAIN}:{PORT}\\r\\n\\r\\n'); return c.recv(65536)[:12]\n"
              "print(get().decode(), flush=True); sys.stdin.readline(); print(get().decode(), flush=True)\n")
    with subprocess.Popen(machine.command("/usr/bin/env", "python3", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old:
        equal(old.stdout.readline().strip(), "HTTP/1.1 200")
        put(second)
        wait_for("the exchanged certificate", lambda: trusted(second[0]), 60)
        assert not trusted(first[0])
        old.stdin.write("\n")
        old.stdin.flush()
        equal(old.stdout.readline().strip(), "HTTP/1.1 200")
    with open(os.path.join(live, "cert.pem"), "w") as file:
        file.write("nonsense")
    wait_for("word of the bad one", lambda: "ingress.certificate" in gb.log() and '"level":"warn"' in gb.log(), 60)
    assert trusted(second[0]), "a bad one changes nothing"


run(test)
