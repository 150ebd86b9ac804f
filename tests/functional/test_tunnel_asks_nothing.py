"""An open tunnel is sent no pings: the official library answers one with a frame that is not masked, which ends the connection.
labels: privileged slow timeout=120
"""
import select

from harness import Glovebox, run
from support import api_of, equal, eventually

PINGS_EVERY = 30
SERVER = """
import socket
s = socket.create_server(("127.0.0.1", 7000)); print("up", flush=True)
c = s.accept()[0]; c.sendall(b"hello")
while data := c.recv(100): c.sendall(data)
"""


def test(tmp):
    with Glovebox(tmp) as gb:
        box = api_of(gb).create()
        pid = box.start("python3", "-c", SERVER)["pid"]
        eventually(lambda: box.output(pid, "stdout") == ["up"], 20, "the server")
        with box.websocket("/tunnels/tcp?port=7000") as tunnel:
            equal(tunnel.receive(), (tunnel.BINARY, b"hello"))
            ready, _, _ = select.select([tunnel.socket], [], [], PINGS_EVERY + 5)
            assert not ready, f"said into a silent tunnel: {tunnel.socket.recv(16)!r}"
            tunnel.send(b"again")
            equal(tunnel.receive(), (tunnel.BINARY, b"again"))


run(test)
