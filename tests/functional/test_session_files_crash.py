"""A session's files are whole whatever dies while they come: the orchestrator between two of them, the engine or the box in the middle of one, the server they come from. With the worker inside of the box they are there, or said to be missing, just the same.
labels: privileged timeout=300
"""
import threading
import time

from crashes import kill_at
from fake_messages import FakeMessages
from harness import SYSTEM, Glovebox, run
from sessions import plain
from support import Checks, equal
from test_session_files import directory, refused, settings
from test_session_policy import Talk, boxes
from web_files import WebFiles

TEXT = b"0123456789abcdef" * 8192


def slowly(begun, go_on):
    """The first request is answered by halves: `begun`, then nothing until `go_on`. All others at once."""
    first = threading.Lock()

    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(TEXT)))
        request.end_headers()
        request.wfile.write(TEXT[:4096])
        if first.acquire(blocking=False):
            request.wfile.flush()
            begun.set()
            go_on.wait(60)
        request.wfile.write(TEXT[4096:])
    return answer


WHOLE = "cat a.txt && wc -c < slow.bin && (cd tool && git status -s && cat README)"


def metadata(web):
    return {"glovebox.files": f"a.txt=dir:seeds/a.txt slow.bin={web.url}/slow", "glovebox.git": web.git("tool")}


def asking(talk):
    """The session's first call, in a thread; its result when that is joined."""
    found = []
    thread = threading.Thread(target=lambda: found.append(talk.ask(WHOLE)))
    thread.start()
    return lambda: (thread.join(120), plain(found[0]["content"]).strip())[1]


def test_killed(tmp):
    with WebFiles(tmp) as web, FakeMessages() as fake:
        seeds = directory(tmp)
        web.repository("tool", {"README": "read me\n"})
        with Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key),
                      environment=settings(web, GLOVEBOX_ORCHESTRATOR_SESSION_DIRECTORIES="seeds=" + seeds)) as gb:
            check, want = Checks(), f"seed\n{len(TEXT)}\nread me"
            web.put("/slow", TEXT)
            for number in (1, 3):
                with check(f"the orchestrator, after {number} of 3 are placed"):
                    gb.down()
                    gb.environment["GLOVEBOX_FAULT"] = f"orchestrator.file_placed:kill@{number}"
                    gb.start()
                    before = len(gb.log())
                    equal(Talk(gb, fake, f"placed-{number}", metadata(web)).says(WHOLE), want)
                    assert "killed by SIGKILL" in gb.log()[before:], "nothing died"
            gb.down()
            del gb.environment["GLOVEBOX_FAULT"]
            gb.start()
            for part in ("orchestrator", "engine", "box"):
                with check(f"{part}, while one comes"):
                    begun, go_on = threading.Event(), threading.Event()
                    web.put("/slow", slowly(begun, go_on))
                    earlier = set(boxes(gb))
                    joined = asking(Talk(gb, fake, "during-" + part, metadata(web)))
                    assert begun.wait(60), "nobody asked for it"
                    if part == "box":
                        for box in set(boxes(gb)) - earlier:
                            gb.api.delete(f"/v1/namespaces/default/sandboxes/{box}").expect()
                    else:
                        kill_at(0, gb, part)
                    time.sleep(0.3)
                    go_on.set()
                    equal(joined(), want)
            with check("the server, for a moment"):
                answers = [lambda r: r.reply(503), lambda r: r.reply(503), lambda r: r.reply(200, TEXT)]
                web.put("/slow", lambda request: answers.pop(0)(request))
                equal(Talk(gb, fake, "server", metadata(web)).says(WHOLE), want)
            check.done()


def test_inside(tmp):
    with WebFiles(tmp) as web, FakeMessages() as fake:
        seeds = directory(tmp)
        web.repository("tool", {"README": "read me\n"})
        web.put("/slow", TEXT)
        with Glovebox(tmp, parts=(*SYSTEM, "uplink"), model=(fake.url, fake.key),
                      environment=settings(web, GLOVEBOX_ORCHESTRATOR_SESSION_DIRECTORIES="seeds=" + seeds, GLOVEBOX_ORCHESTRATOR_RUNNER="inside")) as gb:
            check = Checks()
            with check("they are there before the first call"):
                equal(Talk(gb, fake, "inside", metadata(web)).says(WHOLE), f"seed\n{len(TEXT)}\nread me")
            with check("what cannot be had is said, and the call is answered"):
                refused(gb, fake, "inside-missing", {"glovebox.files": f"{web.url}/nothing"}, "404")
                refused(gb, fake, "inside-image", {"session.image": "other:1"}, "not offered")
            check.done()


def test_silence(tmp):
    """A server that says nothing more costs its session a while, and no other session anything."""
    with WebFiles(tmp) as web, FakeMessages() as fake, \
            Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=settings(web, GLOVEBOX_ORCHESTRATOR_SESSION_FILES_SECS="3")) as gb:
        begun, go_on = threading.Event(), threading.Event()
        web.put("/slow", slowly(begun, go_on))
        web.put("/x", b"x")
        joined = asking(Talk(gb, fake, "silent", {"glovebox.files": f"{web.url}/slow"}))
        assert begun.wait(60), "nobody asked for it"
        equal(Talk(gb, fake, "other", {"glovebox.files": f"{web.url}/x"}).says("cat x"), "x")
        words = joined()
        go_on.set()
        assert "within 3 s" in words, words


if __name__ == "__main__":
    run(test_killed, test_inside, test_silence)
