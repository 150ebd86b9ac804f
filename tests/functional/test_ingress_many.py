"""Two thousand idle connections and two hundred WebSockets at once cost the ingress little memory, and leave a newcomer his answer.
labels: privileged slow timeout=600
"""
import contextlib
import resource
import socket

from harness import Glovebox, note, run
from ingress import PORT, at, serving
from support import equal, eventually

IDLE, SOCKETS = 2000, 200


def memory_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def read_answer(connection, end):
    text = b""
    while not text.endswith(end):
        data = connection.recv(65536)
        assert data, text
        text += data
    return text


def test(tmp):
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    with Glovebox(tmp, parts=("engine", "ingress")) as gb, contextlib.ExitStack() as stack:
        box = gb.create(name="web", exposed_ports=[PORT], allow_unauthenticated_access=True)
        serving(box)
        web, own = at(gb, f"{PORT}-web"), at(gb, "")
        web.get("/").expect(200)
        before = memory_kb(gb.pid("ingress"))
        idle = []
        for _ in range(IDLE):
            connection = stack.enter_context(contextlib.closing(socket.create_connection(web.address, timeout=60)))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % own.host.encode())
            read_answer(connection, b"ok\n")
            idle.append(connection)
        with_idle = memory_kb(gb.pid("ingress"))
        sockets = []
        for i in range(SOCKETS):
            connection = stack.enter_context(contextlib.closing(socket.create_connection(web.address, timeout=60)))
            connection.sendall(b"GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n%04d" % (web.host.encode(), i))
            read_answer(connection, b"%04d" % i)
            sockets.append(connection)
        with_sockets = memory_kb(gb.pid("ingress"))
        note(f"memory of the ingress: {before} KiB, with {IDLE} idle connections {with_idle} KiB, with {SOCKETS} WebSockets too {with_sockets} KiB")
        for i, connection in enumerate(sockets):
            connection.sendall(b"again %04d" % i)
        for i, connection in enumerate(sockets):
            read_answer(connection, b"again %04d" % i)
        for connection in idle[::50]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % own.host.encode())
            read_answer(connection, b"ok\n")
        web.get("/").expect(200)
        # About ten kibibytes for each would be a lot.
        assert with_idle - before < IDLE * 16, (before, with_idle)
        assert with_sockets - with_idle < SOCKETS * 64, (with_idle, with_sockets)
        stack.close()
        def all_gone():
            metrics = own.get("/metrics", headers={"Authorization": f"Bearer {gb.secret('metrics')}"}).text
            return "ingress_websockets 0\n" in metrics
        eventually(all_gone, 60, "no WebSocket is left")
        equal(gb.api.post(f"/v1/namespaces/default/sandboxes/{box.id}/suspend").status in (200, 202), True)


run(test)
