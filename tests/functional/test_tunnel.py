"""A TCP tunnel is one connection to a port inside a sandbox, exposed or not, whatever its network: bytes both ways, whole and in order.
labels: privileged timeout=300
"""
import hashlib
import os
import threading

from harness import Glovebox, run
from support import Checks, UpgradeRefused, api_of, equal, eventually

# Echoes on 7000, on v6 alone on 7001; sends 8 MiB and closes on 7002; says how many bytes it got by the end of them on 7003;
# reads nothing on 7004.
SERVER = """
import socket, threading, hashlib
def serve(port, work, host="127.0.0.1"):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port)); s.listen(64)
    while True:
        c, _ = s.accept()
        threading.Thread(target=work, args=(c,), daemon=True).start()
def echo(c):
    while data := c.recv(65536): c.sendall(data)
    c.close()
def flood(c):
    c.sendall(bytes(range(256)) * 32768); c.close()
def count(c):
    n = 0
    while data := c.recv(65536): n += len(data)
    open("/tmp/counted", "w").write(str(n)); c.close()
kept = []
def deaf(c): kept.append(c)
for args in ((7000, echo), (7001, echo, "::1"), (7002, flood), (7003, count), (7004, deaf)):
    threading.Thread(target=serve, args=args).start()
print("up", flush=True)
"""


def tunnel(box, port, **more):
    return box.websocket(f"/tunnels/tcp?port={port}", **more)


def refused(box, query):
    try:
        with box.websocket(f"/tunnels/tcp{query}"):
            raise AssertionError(f"{query} was let in")
    except UpgradeRefused as refusal:
        return refusal.reply


def talk(box, port, data):
    """What comes back of `data`, sent while it is read."""
    with tunnel(box, port) as socket:
        def send():
            for at in range(0, len(data), 40_000):
                socket.send(data[at : at + 40_000])
        sender = threading.Thread(target=send)
        sender.start()
        got = b""
        while len(got) < len(data):
            piece = socket.message()
            assert piece is not None, f"closed after {len(got)} bytes"
            got += piece
        sender.join()
        return got


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()
        box.write("/tmp/server.py", SERVER)
        server = box.start("python3", "/tmp/server.py")
        eventually(lambda: box.output(server["pid"], "stdout") == ["up"], 30, "the server")

        with check("bytes go both ways, whole and in order"):
            data = os.urandom(3_000_000)
            equal(hashlib.sha256(talk(box, 7000, data)).hexdigest(), hashlib.sha256(data).hexdigest())
        with check("a server on the other loopback is found too"):
            equal(talk(box, 7001, b"six"), b"six")
        with check("many at once do not mix"):
            results, payloads = {}, {i: bytes([i]) * 100_000 for i in range(16)}
            threads = [threading.Thread(target=lambda i=i: results.update({i: talk(box, 7000, payloads[i])})) for i in payloads]
            [t.start() for t in threads]
            [t.join() for t in threads]
            assert results == payloads
        with check("the server's end is the end: all it sent, then close 1000"):
            with tunnel(box, 7002) as socket:
                got = b""
                while (piece := socket.message()) is not None:
                    got += piece
                equal((len(got), socket.close_code), (8 << 20, 1000))
        with check("the client's end reaches the server after its last byte"):
            with tunnel(box, 7003) as socket:
                for _ in range(50):
                    socket.send(b"x" * 20_000)
                socket.close()
            eventually(lambda: box.call("GET", "/files?path=/tmp/counted").body == b"1000000", 30, "counted")
        with check("a server that does not read holds up its own tunnel and nothing else"):
            with tunnel(box, 7004, timeout=3) as deaf:
                try:
                    for _ in range(4000):
                        deaf.send(b"y" * 60_000)
                    raise AssertionError("240 MB were taken for a server that reads none")
                except OSError:
                    pass
                equal(talk(box, 7000, b"others go on"), b"others go on")
        with check("a text message is refused"):
            with tunnel(box, 7000) as socket:
                socket.send("text")
                equal((socket.message(), socket.close_code), (None, 1003))
        with check("refused before the upgrade: bad ports, nobody there, no key, unknown sandbox"):
            for query in ("", "?port=", "?port=0", "?port=65536", "?port=x", "?port=-1"):
                refused(box, query).refused(400)
            refused(box, "?port=7999").refused(502, "CONNECTION_REFUSED")
            box.plane.key, key = "", box.plane.key
            refused(box, "?port=7000").refused(401)
            box.plane.key = key
            box.call("GET", "/tunnels/tcp?port=7000").refused(426)
        with check("not the host's ports: what listens here is not there"):
            refused(box, f"?port={gb.api.address[1]}").refused(502, "CONNECTION_REFUSED")
        with check("it ends with its sandbox"):
            with tunnel(box, 7000) as socket:
                socket.send(b"hello")
                equal(socket.message(), b"hello")
                box.delete().expect(204)
                equal(socket.message(), None)
            refused(box, "?port=7000").refused(410)
        check.done()


run(test)
