"""A world for tests of the network: the test's own process (and all it starts) in a network of its own, and behind one
link a "world" with public, private and metadata addresses that all answer. No packet leaves these namespaces.
"""
import contextlib
import ctypes
import ipaddress
import os
import shutil
import signal
import subprocess
import sys

from harness import skip

CLONE_NEWNET = 0x40000000
HOST, GATEWAY = "192.168.77.2", "192.168.77.1"
HOST6, GATEWAY6 = "fd00:77::2", "fd00:77::1"
PUBLIC, PUBLIC_2, PUBLIC6 = "93.184.216.34", "8.8.8.8", "2606:2800::1"
PRIVATE, METADATA, CARRIER = "10.9.9.9", "169.254.169.254", "100.100.100.200"
PORT = 7000

# Answers TCP with one line (whom it heard, who spoke) and then with what it is sent, UDP with the same line.
SERVER = r"""
import socket, sys, threading
port = int(sys.argv[1])
def plain(address): return address[0].replace("::ffff:", "")
def serve(connection):
    with connection:
        connection.sendall(f"{plain(connection.getsockname())} {plain(connection.getpeername())}\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)
def guarded(connection):
    try: serve(connection)
    except OSError: pass
def datagrams(address):
    udp = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, port))
    while True:
        data, peer = udp.recvfrom(65536)
        try: udp.sendto(f"{plain(peer)}\n".encode(), peer)
        except OSError: pass
tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
for address in sys.argv[2:]:  # each its own socket, so that answers come from where the question went
    threading.Thread(target=datagrams, args=(address,), daemon=True).start()
print("up", flush=True)
while True:
    threading.Thread(target=guarded, args=(tcp.accept()[0],), daemon=True).start()
"""

# In a box: address, port, kind -> "ok LINE" or the name of the error.
CLIENT = r"""
import errno, socket, sys
for word in sys.argv[1:]:
    kind, address, port = word.split(",")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect((address, int(port)))
            if kind == "udp": s.send(b"hello")
            print("ok", s.recv(200).decode().strip())
    except TimeoutError: print("ETIMEDOUT")
    except OSError as e: print(errno.errorcode.get(e.errno, str(e)))
"""


def sh(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def own_network():
    """From here on this process is in a network of its own. Once, before anything else."""
    for program in ("ip", "unshare", "nsenter"):
        shutil.which(program) or skip(f"needs the program {program}")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        skip(f"no network namespaces: {os.strerror(ctypes.get_errno())}")
    sh("ip", "link", "set", "lo", "up")


class Place:
    """A network namespace, kept by a process in it."""

    def __init__(self):
        self.processes = []
        self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo up; exec sleep 100000"], stdout=subprocess.PIPE)
        self.processes.append(self.keeper)
        assert self.keeper.stdout.readline() == b"up\n"
        self.ip("link", "set", "lo", "up")

    def run(self, *words, check=True):
        return sh("nsenter", "-t", str(self.keeper.pid), "-n", *words, check=check)

    def ip(self, *words):
        return self.run("ip", *words)

    def serve(self, *addresses):
        self.start(SERVER, str(PORT), *addresses)

    def start(self, script, *words):
        server = subprocess.Popen(["nsenter", "-t", str(self.keeper.pid), "-n", sys.executable, "-c", script, *words],
                                  stdout=subprocess.PIPE)
        self.processes.append(server)
        assert server.stdout.readline() == b"up\n"
        return server

    def end(self):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()


def join(place, ours, theirs, our_addresses, their_addresses):
    """A link between us and a place."""
    sh("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", str(place.keeper.pid))
    for address in our_addresses:
        sh("ip", "address", "add", address, "dev", ours, *(["nodad"] if ":" in address else []))
    for address in their_addresses:
        place.ip("address", "add", address, "dev", theirs, *(["nodad"] if ":" in address else []))
    sh("ip", "link", "set", ours, "up")
    place.ip("link", "set", theirs, "up")


@contextlib.contextmanager
def world():
    place = Place()
    try:
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):  # a new network begins with what the machine's has
            with open("/proc/sys/net/" + name, "w") as file:
                file.write("0")
        join(place, "up0", "down0", [f"{HOST}/24", f"{HOST6}/64"], [f"{GATEWAY}/24", f"{GATEWAY6}/64"])
        for address in (PUBLIC, PUBLIC_2, PUBLIC6, PRIVATE, METADATA, CARRIER):
            place.ip("address", "add", f"{address}/{ipaddress.ip_address(address).max_prefixlen}", "dev", "lo")
        sh("ip", "route", "add", "default", "via", GATEWAY)
        sh("ip", "-6", "route", "add", "default", "via", GATEWAY6)
        place.serve(PUBLIC, PUBLIC_2, PUBLIC6, PRIVATE)
        yield place
    finally:
        place.end()
        sh("ip", "link", "del", "up0", check=False)


def ask(box, *targets, port=PORT, kind="tcp", client=CLIENT):
    """What became of a connection to each target: "ok HEARD SPOKE" or an error's name."""
    done = box.run("python3", "-c", client, *[t if "," in t else f"{kind},{t},{port}" for t in targets]).ok()
    return done.stdout.splitlines()


def links(place=None):
    """Names of the links here that are boxes'."""
    lines = (place.ip if place else lambda *w: sh("ip", *w))("-o", "link").splitlines()
    return sorted(name for line in lines if (name := line.split()[1].split("@")[0].rstrip(":")).startswith("gbx"))


def setting(name):
    with open("/proc/sys/net/" + name) as file:
        return file.read().strip()
