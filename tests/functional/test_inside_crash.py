"""runner = "inside": whoever of uplink, orchestrator, engine, worker and box dies meanwhile, the session goes on, and no call that went on is lost.
labels: privileged slow timeout=280
"""
from fake_messages import FakeMessages
from harness import Glovebox, run
from inside import INSIDE, SETTINGS, Place
from support import Checks, api_of, equal


def test(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=INSIDE, model=(fake.url, fake.key), environment=SETTINGS, lease_ttl=10) as gb:
        everything(gb, Place(gb, fake), check)
        check.done()


def everything(gb, place, check):
    with check("the uplink is killed while a call runs"):
        session = place.session("touch begun; sleep 4; echo survived", "echo next")
        box = place.box(session)
        place.runs(box, "/workspace/begun")
        gb.kill_part("uplink")
        equal(place.ended(session), ["survived", "next"])
    with check("the orchestrator is killed while a call runs: the next one finds the worker, which has noticed nothing"):
        session = place.session("touch begun; sleep 4; echo survived", "echo next")
        box = place.box(session)
        place.runs(box, "/workspace/begun")
        pid = place.worker(box)["pid"]
        gb.kill_part("orchestrator")
        equal(place.ended(session), ["survived", "next"])
        assert [e for e in place.logged("inside.found") if e["pid"] == pid and e["box"] == box.id], place.logged("inside.found")
    with check("the engine is killed while a call runs"):
        session = place.session("touch begun; sleep 4; echo survived", "echo next")
        place.runs(place.box(session), "/workspace/begun")
        gb.kill_part("engine")
        equal(place.ended(session), ["survived", "next"])
    with check("a tenant that kills the worker costs its own item: the session goes on with another worker"):
        session = place.session("test -e once && echo second || { touch once; sleep 1; pkill -9 glovebox-worker; sleep 60; }", "echo next")
        got = place.ended(session)
        equal(got[-1], "next")
        assert len([e for e in place.logged("inside.start") if e["box"] == place.box(session).id]) >= 2
    with check("a tenant that takes the port while the uplink is away gets nothing to hear, and the session goes on"):
        session = place.session("touch begun; sleep 6; echo over", "echo next")
        box = place.box(session)
        place.runs(box, "/workspace/begun")
        port = int([a for a in place.worker(box)["args"] if a.startswith("--base-url=")][0].rsplit(":", 1)[1])
        thief = box.start("python3", "-c", "import socket, time\nwhile True:\n try:\n  s = socket.create_server(('127.0.0.1', %d)); break\n except OSError: time.sleep(0.002)\n"
                          "print('mine', flush=True)\ns.settimeout(20)\nheard = b''\nwhile True:\n try:\n  c, _ = s.accept(); c.settimeout(1); heard += c.recv(65536); c.close(); print(heard, flush=True)\n except OSError: pass" % port)
        gb.kill_part("uplink")
        equal(place.ended(session)[-1], "next")
        heard = "".join(box.output(thief["pid"], "stdout"))
        for secret in (gb.secret("environment"), gb.secret("uplink"), gb.secret("engine"), gb.brain_key):
            assert secret not in heard
        assert "gb-ses" not in heard and "sk-ant-req" not in heard, heard
    with check("a box that is deleted under its worker: the next item has a new one"):
        session = place.session("touch begun; sleep 5", "echo next")
        box = place.box(session)
        place.runs(box, "/workspace/begun")
        api_of(gb).delete(box.id)
        assert place.ended(session)[-1] == "next"


def test_faults(tmp):
    """The orchestrator is killed before and after it starts the worker: one worker serves, each call once."""
    for number, point in enumerate(("orchestrator.before_worker", "orchestrator.after_worker")):
        with FakeMessages() as fake, Glovebox(tmp, name=f"fault{number}", parts=INSIDE, model=(fake.url, fake.key), lease_ttl=10,
                                              environment={**SETTINGS, "GLOVEBOX_FAULT": point + ":kill"}) as gb:
            place = Place(gb, fake)
            session = place.session("echo x >> ran; sleep 4; cat ran", "cat ran | wc -l")
            equal(place.ended(session), ["x", "1"], point)
            equal(len({e["pid"] for e in place.logged("inside.start") + place.logged("inside.found")}), 1, "workers")


run(test, test_faults)
