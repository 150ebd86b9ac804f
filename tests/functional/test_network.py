"""A box reaches what its network policy names, and nothing else: not the host, its neighbours, metadata or other boxes; at once when it changes.
labels: privileged timeout=240
"""
import concurrent.futures
import os
import socket
import subprocess
import threading

import network_world as net
from harness import SANDBOXES, Glovebox, note, run, wait_for
from network_world import (CARRIER, GATEWAY, GATEWAY6, HOST, HOST6, METADATA, PORT, PRIVATE, PUBLIC, PUBLIC6, PUBLIC_2, ask, links,
                           setting, sh)
from support import Checks, equal

INTERNET = {"GLOVEBOX_ENGINE_DEFAULT_NETWORK": "internet", "GLOVEBOX_ENGINE_BLANKS": "3"}
NONE = {"allow_internet_access": False, "allow_out": [], "deny_out": []}
REFUSED = ("ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EACCES")


def only(internet=False, allow=(), deny=()):
    return {"allow_internet_access": internet, "allow_out": list(allow), "deny_out": list(deny)}


def refused(answers):
    assert all(answer in REFUSED for answer in answers), answers


def patch(gb, box, policy):
    return gb.api.patch(f"{SANDBOXES}/{box.id}", {"network": policy})


def address_of(box):
    return box.sh("cat /proc/net/fib_trie | grep -B1 'host LOCAL' | grep -o '100\\.64\\.[0-9.]*' | head -1").ok().stdout.strip()


def own_gateway(box):
    parts = address_of(box).split(".")
    return ".".join([*parts[:3], str(int(parts[3]) - 1)])


def test_what_may_be_reached(tmp):
    check = Checks()
    with net.world(), Glovebox(tmp, environment=INTERNET) as gb:
        host = subprocess.Popen(["python3", "-c", net.SERVER, str(PORT)], stdout=subprocess.PIPE)
        try:
            host.stdout.readline()
            reach(gb, check)
        finally:
            host.kill()
            host.wait()
            host.stdout.close()
    with check("everything is as it was: no links, no forwarding"):
        equal(links(), [])
        equal(setting("ipv4/ip_forward"), "0")
        equal(setting("ipv6/conf/all/forwarding"), "0")
    check.done()


def reach(gb, check):
    box, other = gb.create(), gb.create()
    with check("by default public addresses, over IPv4 and IPv6, TCP and UDP; and the world sees the host"):
        equal(ask(box, PUBLIC, PUBLIC6), [f"ok {PUBLIC} {HOST}", f"ok {PUBLIC6} {HOST6}"])
        equal(ask(box, PUBLIC, PUBLIC6, kind="udp"), [f"ok {HOST}", f"ok {HOST6}"])
        equal(gb.get(box.id).json.get("network"), None, "what was not asked for is not in the record")

    with check("not the host, its neighbours, private ranges, link-local, metadata"):
        refused(ask(box, HOST, HOST6, GATEWAY, GATEWAY6, PRIVATE, METADATA, CARRIER, own_gateway(box), "fd67:6c6f:7665::1"))
        refused(ask(box, HOST, GATEWAY, PRIVATE, METADATA, kind="udp"))
        refused(ask(box, "0x0a.9.9.9", "168364297", "::ffff:10.9.9.9"))

    with check("not another box, by either family"):
        started = other.start("python3", "-c", net.SERVER, "7001")
        wait_for("the other box's server", lambda: "up" in other.lines(started["pid"]))
        equal(ask(other, "127.0.0.1", port=7001)[0][:2], "ok")
        refused(ask(box, address_of(other), port=7001))
        six = other.sh("grep -o 'fd676c6f7665[0-9a-f]*' /proc/net/if_inet6 | head -1").ok().stdout.strip()
        assert six, "no IPv6 address"
        refused(ask(box, ":".join(six[i:i + 4] for i in range(0, 32, 4)), port=7001))

    with check("the host cannot reach a box by its link either"):
        with socket.socket() as s:
            s.settimeout(2)
            try:
                s.connect((address_of(other), 7001))
                raise AssertionError("connected")
            except OSError:
                pass

    with check("a policy of none has no link at all, and no resolver"):
        alone = gb.create(network=NONE)
        equal(alone.sh("cut -d: -f1 /proc/net/dev | tail -n +3").ok().stdout.split(), ["lo"])
        refused(ask(alone, PUBLIC, PUBLIC6, HOST))
        equal(gb.get(alone.id).json["network"], NONE)
        equal(gb.create(network=only(deny=["10.0.0.0/8"])).sh("tail -n +3 /proc/net/dev | wc -l").stdout, "1\n")

    with check("an allow list allows nothing else; a port in a rule counts for nothing; deny is stronger"):
        listed = gb.create(network=only(allow=[f"{PUBLIC}:443", "10.9.0.0/16", "2606:2800::/32"]))
        equal([a[:2] for a in ask(listed, PUBLIC, PRIVATE, PUBLIC6)], ["ok"] * 3)
        refused(ask(listed, PUBLIC_2, METADATA, HOST, GATEWAY))
        denied = gb.create(network=only(True, deny=["93.184.0.0/16", "2606:2800::1"]))
        equal(ask(denied, PUBLIC_2)[0][:2], "ok")
        refused(ask(denied, PUBLIC, PUBLIC6))
        both = gb.create(network=only(allow=["10.0.0.0/8"], deny=["10.9.9.9"]))
        refused(ask(both, PRIVATE))

    with check("a wide rule names nobody: 0.0.0.0/0 is the internet"):
        wide = gb.create(network=only(allow=["0.0.0.0/0", "::/0"]))
        equal([a[:2] for a in ask(wide, PUBLIC, PUBLIC6)], ["ok", "ok"])
        refused(ask(wide, PRIVATE, METADATA, HOST, GATEWAY6))

    with check("what is named is open: metadata, the host by its own address and no other way"):
        equal(ask(gb.create(network=only(allow=[METADATA])), METADATA)[0][:2], "ok")
        named = gb.create(network=only(allow=[HOST]))
        equal(ask(named, HOST)[0], f"ok {HOST} {address_of(named)}")
        refused(ask(gb.create(network=only(allow=["192.168.77.0/24"])), HOST))

    with check("host names are refused by name, and nothing is made of them"):
        for policy in (only(True, allow=["example.com"]), only(True, deny=["*.example.com"])):
            reply = gb.api.post(SANDBOXES, {"network": policy})
            assert reply.status == 501 and "example.com" in reply.json["error"] and reply.json["code"] == "NOT_IMPLEMENTED", reply.text
        for rule in ("10.0.0.0/33", "1.2.3.4/", "[::1"):
            assert gb.api.post(SANDBOXES, {"network": only(allow=[rule])}).status in (400, 422), rule

    with check("with addresses that are not its own nothing leaves (as root of the host in the box's network)"):
        pid = first_process(gb, box)
        sh("nsenter", "-t", pid, "-n", "ip", "address", "add", "100.64.200.1/32", "dev", "eth0")
        said = subprocess.run(["nsenter", "-t", pid, "-n", "python3", "-c",
                               f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('100.64.200.1', 0));"
                               f"s.settimeout(1); s.connect(('{PUBLIC}', {PORT})); s.send(b'x'); print(s.recv(100))"],
                              capture_output=True, text=True)
        assert "TimeoutError" in said.stderr, said
        equal(ask(box, PUBLIC)[0][:2], "ok")


def first_process(gb, box):
    """The pid of a box's first process, by its control group."""
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        if top.endswith(f"{box.id}/hand"):
            with open(os.path.join(top, "cgroup.procs")) as file:
                if pid := file.readline().strip():
                    return pid
    raise AssertionError("no first process")


HOLD = r"""
import socket, sys, threading, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.recv(200); print("open", flush=True)
if sys.argv[3] == "busy":
    def speak():
        try:
            while True: s.sendall(b"x" * 100); time.sleep(0.05)
        except OSError: pass
    threading.Thread(target=speak, daemon=True).start()
try:
    while data := s.recv(65536): pass
    print("closed", flush=True)
except OSError as e: print("cut", flush=True)
"""


def test_policies_change_live(tmp):
    check = Checks()
    with net.world(), Glovebox(tmp, environment=INTERNET) as gb:
        box = gb.create()

        def hold(target, kind):
            started = box.start("python3", "-c", HOLD, target, str(PORT), kind)
            wait_for("a connection", lambda: "open" in box.lines(started["pid"]))
            return started["pid"]

        with check("a withdrawn permission cuts connections there are, busy or silent; the others stay"):
            busy, silent, kept = hold(PUBLIC, "busy"), hold(PUBLIC, "silent"), hold(PUBLIC_2, "busy")
            six = hold(PUBLIC6, "silent")
            patch(gb, box, only(True, deny=[PUBLIC, PUBLIC6])).expect(200)
            for pid in (busy, silent, six):
                wait_for("the end of a connection", lambda: "cut" in box.lines(pid), 3)
            refused(ask(box, PUBLIC, PUBLIC6))
            equal(ask(box, PUBLIC_2)[0][:2], "ok")
            equal(box.lines(kept), ["open"])

        with check("permission comes back, and null is the default again"):
            patch(gb, box, only(allow=[PUBLIC])).expect(200)
            equal(ask(box, PUBLIC)[0][:2], "ok")
            refused(ask(box, PUBLIC_2))
            equal(gb.api.patch(f"{SANDBOXES}/{box.id}", {"name": "named"}).expect(200).json["network"], only(allow=[PUBLIC]))
            assert not patch(gb, box, None).expect(200).json.get("network")
            equal([a[:2] for a in ask(box, PUBLIC, PUBLIC_2)], ["ok", "ok"])

        with check("to none and back: the link goes and comes while the box runs"):
            marker = box.start("sleep", "600")["pid"]
            before = links()
            patch(gb, box, NONE).expect(200)
            equal(box.sh("tail -n +3 /proc/net/dev | wc -l").stdout, "1\n")
            equal(len(links()), len(before) - 1)
            refused(ask(box, PUBLIC))
            patch(gb, box, only(True)).expect(200)
            equal(ask(box, PUBLIC)[0][:2], "ok")
            equal(box.process(marker)["status"], "running")

        with check("to none and back by many at once: the last word holds, and has its link"):
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda n: patch(gb, box, only(True) if n % 2 else NONE).expect(200), range(40)))
            internet = gb.api.get(f"{SANDBOXES}/{box.id}").expect(200).json["network"]["allow_internet_access"]
            equal(ask(box, PUBLIC)[0][:2] == "ok", internet)
            patch(gb, box, only(True)).expect(200)
            equal(ask(box, PUBLIC)[0][:2], "ok")

        with check("an update that cannot be is refused whole"):
            reply = patch(gb, box, only(True, deny=[PUBLIC, "example.com"]))
            equal(reply.status, 501)
            equal(ask(box, PUBLIC)[0][:2], "ok")
            equal(gb.get(box.id).json["network"], only(True))

        with check("twenty updates at once: one of them holds, the record says which"):
            policies = [only(allow=[PUBLIC if i % 2 else PUBLIC_2]) for i in range(20)]
            threads = [threading.Thread(target=patch, args=(gb, box, policy)) for policy in policies]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            allowed = gb.get(box.id).json["network"]["allow_out"]
            other = PUBLIC if allowed == [PUBLIC_2] else PUBLIC_2
            equal(ask(box, *allowed)[0][:2], "ok")
            refused(ask(box, other))

        with check("a deleted box's link goes"):
            boxes = [gb.create() for _ in range(6)]
            for one in boxes + [box]:
                one.delete()
            wait_for("links of blanks only", lambda: len(links()) <= 6, 20)
    check.done()


def test_kill_and_side_by_side(tmp):
    check = Checks()
    with net.world(), Glovebox(tmp, environment=INTERNET) as gb:
        box = gb.create(name="survivor")
        listed = gb.create(network=only(allow=["10.9.0.0/16"]))
        with check("a killed engine's boxes keep their network, and the next engine their rules"):
            gb.kill_part("engine", wait=False)
            equal(ask_here(gb, box), "ok")
            wait_for("the new engine", gb.answers, 60)
            equal(ask(box, PUBLIC)[0][:2], "ok")
            equal(ask(listed, PRIVATE)[0][:2], "ok")
            refused(ask(listed, PUBLIC))
            refused(ask(box, PRIVATE))
            patch(gb, box, only(allow=[PUBLIC_2])).expect(200)
            refused(ask(box, PUBLIC))

        with check("links of nobody are swept at the next start, another instance's are not touched"):
            sh("ip", "link", "add", f"gbx{gb.instance}fffe", "type", "veth", "peer", "name", "other0")
            sh("ip", "link", "add", "gbxstranger01", "type", "veth", "peer", "name", "gbxstranger02")
            gb.kill_engine()
            wait_for("the sweep", lambda: f"gbx{gb.instance}fffe" not in links())
            assert "gbxstranger01" in links(), links()
            sh("ip", "link", "del", "gbxstranger01")

        with check("a second instance beside it: each its own boxes, and leaving takes nothing from the other"):
            with Glovebox(tmp, environment=INTERNET, name="second") as second:
                beside = second.create()
                equal([ask(one, t)[0][:2] for one, t in ((beside, PUBLIC), (box, PUBLIC_2))], ["ok", "ok"])
                started = beside.start("python3", "-c", net.SERVER, "7001")
                wait_for("its server", lambda: "up" in beside.lines(started["pid"]))
                patch(gb, box, only(allow=["100.64.0.0/10"])).expect(200)
                assert not ask(box, address_of(beside), port=7001)[0].startswith("ok")
            patch(gb, box, only(True)).expect(200)
            equal(ask(box, PUBLIC)[0][:2], "ok")
            equal(setting("ipv4/ip_forward"), "1")

        with check("the host passes nobody else's packets on"):
            stranger = net.Place()
            try:
                net.join(stranger, "side0", "side1", ["172.20.0.1/24", "fd00:88::1/64"], ["172.20.0.2/24", "fd00:88::2/64"])
                stranger.ip("route", "add", "default", "via", "172.20.0.1")
                stranger.ip("-6", "route", "add", "default", "via", "fd00:88::1")
                for target in (PUBLIC, PUBLIC6, address_of(box)):
                    said = stranger.run("python3", "-c", net.CLIENT.replace("settimeout(5)", "settimeout(1)"), f"tcp,{target},{PORT}")
                    assert not said.startswith("ok"), (target, said)
                said = stranger.run("python3", "-c", net.CLIENT, f"tcp,172.20.0.1,{gb.api.address[1]}")
                note("the side link itself works:", said.strip())
                assert "ECONNREFUSED" in said, said
            finally:
                stranger.end()
                sh("ip", "link", "del", "side0", check=False)
            equal(setting("ipv6/conf/up0/forwarding"), "0", "the host's own interface stays a host's")
            equal(setting("ipv6/conf/up0/accept_ra"), "1")
    with check("everything is as it was"):
        equal(links(), [])
        equal(setting("ipv4/ip_forward"), "0")
        equal(setting("ipv6/conf/all/forwarding"), "0")
    check.done()


def ask_here(gb, box):
    """Out of the box's network while its engine is dead."""
    return sh("nsenter", "-t", first_process(gb, box), "-n", "python3", "-c", net.CLIENT, f"tcp,{PUBLIC},{PORT}")[:2]


net.own_network()
run(test_what_may_be_reached, test_policies_change_live, test_kill_and_side_by_side)
