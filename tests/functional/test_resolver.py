"""Names resolve in a box that may ask for them, through the machine's name servers, and lead nowhere private; also after a restart of either part.
labels: privileged timeout=180
"""
import network_world as net
from harness import SANDBOXES, Glovebox, run, wait_for
from network_world import PUBLIC
from support import Checks, equal

SERVER_ADDRESS = "10.9.9.9"

# A name server of the world: good.test is public, inner.test private, big.test only fits into a stream.
NAMES = r"""
import socket, sys, threading
def reply(query, stream):
    end = query.index(b"\0", 12) + 5
    name, kind = query[12:end - 4], query[end - 4:end - 2]
    head = lambda flags, count: query[:2] + flags + b"\0\1" + count + b"\0\0\0\0" + query[12:end]
    records = {b"\4good\4test\0": ["93.184.216.34"], b"\5inner\4test\0": ["10.0.0.5"], b"\3big\4test\0": ["93.184.216.34"]}.get(name)
    if records is None: return head(b"\x81\x83", b"\0\0")
    if name.startswith(b"\3big") and not stream: return head(b"\x83\x80", b"\0\0")
    if kind != b"\0\1": return head(b"\x81\x80", b"\0\0")
    return head(b"\x81\x80", b"\0\1") + b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(r) for r in records)
def streams():
    while True:
        connection = tcp.accept()[0]
        with connection:
            size = int.from_bytes(connection.recv(2), "big")
            answer = reply(connection.recv(size), True)
            connection.sendall(len(answer).to_bytes(2, "big") + answer)
tcp = socket.create_server((sys.argv[1], 53))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 53))
threading.Thread(target=streams, daemon=True).start()
print("up", flush=True)
while True:
    query, peer = udp.recvfrom(4096)
    udp.sendto(reply(query, False), peer)
"""

LOOK_UP = "import socket, sys\nfor name in sys.argv[1:]:\n  try: print(socket.gethostbyname(name))\n  except OSError as e: print(type(e).__name__)"


def look_up(box, *names):
    return box.run("python3", "-c", LOOK_UP, *names, timeout=60).ok().stdout.split()


def test(tmp):
    check = Checks()
    environment = {"GLOVEBOX_ENGINE_DEFAULT_NETWORK": "internet", "GLOVEBOX_ENGINE_BLANKS": "2",
                   "GLOVEBOX_RESOLVER_SERVERS": f"{SERVER_ADDRESS}:53"}
    with net.world() as place, Glovebox(tmp, environment=environment, parts=("engine", "resolver")) as gb:
        place.start(NAMES, SERVER_ADDRESS)
        box = gb.create()
        with check("a public name resolves, a long answer by stream; what is not there is not there"):
            equal(look_up(box, "good.test", "big.test", "none.test"), [PUBLIC, PUBLIC, "gaierror"])
        with check("a private name leads nowhere, unless the policy names private addresses"):
            equal(look_up(box, "inner.test"), ["gaierror"])
            inner = gb.create(network={"allow_internet_access": True, "allow_out": ["10.0.0.0/8"]})
            equal(look_up(inner, "inner.test", "good.test"), ["10.0.0.5", PUBLIC])
        with check("none, and lists without the internet, have no resolver; a change of policy brings it and takes it"):
            for network in ({"allow_internet_access": False}, {"allow_internet_access": False, "allow_out": [PUBLIC]}):
                other = gb.create(network=network)
                equal(look_up(other, "good.test"), ["gaierror"])
            gb.api.patch(f"{SANDBOXES}/{other.id}", {"network": None}).expect(200)
            equal(look_up(other, "good.test"), [PUBLIC])
            gb.api.patch(f"{SANDBOXES}/{other.id}", {"network": {"allow_internet_access": False}}).expect(200)
            wait_for("the end of names", lambda: look_up(other, "good.test") == ["gaierror"])
        with check("the resolver runs as a user of its own, without rights"):
            with open(f"/proc/{gb.pid('resolver')}/status") as file:
                status = dict(line.split(":", 1) for line in file.read().splitlines())
            assert status["Uid"].split()[0] != "0" and int(status["CapEff"], 16) == 0, status
        with check("names work again after a restart of the resolver, and of the engine"):
            gb.kill_part("resolver")
            wait_for("a name", lambda: look_up(box, "good.test") == [PUBLIC], 30)
            gb.kill_part("engine")
            wait_for("a name", lambda: look_up(box, "good.test") == [PUBLIC], 30)
            equal(look_up(gb.create(), "good.test"), [PUBLIC])
    check.done()


net.own_network()
run(test)
