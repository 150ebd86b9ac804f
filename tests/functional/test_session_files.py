"""Files and repositories that a session's metadata names are in its box before the first call; what cannot be had is said in the session, and nothing of the host comes along.
labels: privileged timeout=300
"""
import io
import json
import os
import tarfile

from fake_messages import FakeMessages
from harness import SYSTEM, Glovebox, run
from life import suspend
from sessions import plain
from support import Checks, api_of, equal, eventually
from test_session_policy import Talk, boxes, let_go
from web_files import WebFiles


def settings(web, **more):
    return {"GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1", "GLOVEBOX_ORCHESTRATOR_SESSION_HOSTS": "127.0.0.1", "GLOVEBOX_ORCHESTRATOR_SESSION_CA": web.ca,
            "GLOVEBOX_ORCHESTRATOR_SESSION_FILES_MB": "8", **more}


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            if text is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/shadow"
                tar.addfile(info)
            else:
                info.size, info.mode = len(text), 0o4755
                tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def upload(gb, text):
    body = ("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"note.txt\"\r\nContent-Type: text/plain\r\n\r\n" + text + "\r\n--B--\r\n")
    return gb.brain.post("/v1/files", body.encode(), headers={"Content-Type": "multipart/form-data; boundary=B"}).expect(200).json["id"]


def errors(talk):
    return [e["error"]["message"] for e in talk.brain.events(talk.session) if e["type"] == "session.error"]


def cut(request):
    """An answer that ends before its end."""
    request.send_response(200)
    request.send_header("Content-Length", "100")
    request.end_headers()
    request.wfile.write(b"x")
    request.close_connection = True


def refused(gb, fake, name, metadata, why):
    """The call's answer says why, and so does the session itself."""
    talk = Talk(gb, fake, name, metadata)
    result = talk.ask("echo ran")
    words = plain(result["content"])
    assert result["is_error"] and why in words and "ran" not in words.split(), result
    assert any(why in message for message in errors(talk)), errors(talk)


def directory(tmp):
    seeds = os.path.join(tmp, "seeds")
    os.makedirs(os.path.join(seeds, "bin"))
    for path, text in (("a.txt", "seed\n"), ("bin/tool", "#!/bin/sh\necho tool ran\n")):
        with open(os.path.join(seeds, path), "w") as file:
            file.write(text)
    os.chmod(os.path.join(seeds, "bin", "tool"), 0o755)
    os.symlink("/etc/hostname", os.path.join(seeds, "link"))
    return seeds


def test_files(tmp):
    """Each kind of source, once for each box; what the session made of them is left alone."""
    with WebFiles(tmp) as web, FakeMessages() as fake:
        seeds = directory(tmp)
        with Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key),
                      environment=settings(web, GLOVEBOX_ORCHESTRATOR_SESSION_DIRECTORIES="seeds=" + seeds, GLOVEBOX_ORCHESTRATOR_SESSION_VOLUMES="models",
                                           GLOVEBOX_ORCHESTRATOR_RESUME_SUSPENDED_SESSIONS="true")) as gb:
            check, api = Checks(), api_of(gb)
            file_id = upload(gb, "from the brain")
            web.put("/data.csv", b"1,2\n")
            web.put("/moved", "/data.csv?from=https://other.example/")
            web.put("/set.tgz", tar_of({"set/x": "packed", "link": None}))
            gb.cli("volume", "create", "models").check_returncode()
            filler = gb.create(file_systems=[{"file_system_id": "models", "mount_path": "/m"}])
            filler.sh("mkdir /m/small && echo weights > /m/small/w.bin").ok()
            filler.delete()
            talk = Talk(gb, fake, "files", {
                "glovebox.files": f"{file_id} in/data.csv={web.url}/moved?x=1 sets/={web.url}/set.tgz",
                "glovebox.files.more": "volume:models/small dir:seeds one.txt=dir:seeds/a.txt"})
            with check("a file of the brain's, one behind a redirection, a volume's, a directory's"):
                equal(talk.says(f"cat /mnt/session/uploads/{file_id} && echo && cat in/data.csv small/w.bin seeds/a.txt one.txt && seeds/bin/tool"),
                      "from the brain\n1,2\nweights\nseed\nseed\ntool ran")
            with check("links of a directory stay where they are"):
                equal(talk.says("ls -A seeds"), "a.txt\nbin")
            with check("an archive is unpacked by the box, without set-id bits"):
                equal(talk.says("cat sets/set/x && find sets -perm /6000 && readlink sets/link"), "packed/etc/shadow")
            with check("no credential went to the server"):
                assert not [h for _, _, h in web.server.seen if "Authorization" in h or "X-Api-Key" in h], web.server.seen
            with check("placed once: what the session made of it is left alone"):
                talk.says("echo changed > one.txt && rm -r small")
                (box,) = boxes(gb)
                eventually(lambda: let_go(gb), 30, "the session is let go", 0.2)
                fetched = len(web.seen("/data.csv"))
                suspend(api, gb, box)
                equal(talk.says("cat one.txt; ls -d small 2>/dev/null || echo gone"), "changed\ngone")
                equal((list(boxes(gb)), len(web.seen("/data.csv"))), ([box], fetched))
            with check("a box in its place has them anew"):
                gb.api.delete(f"/v1/namespaces/default/sandboxes/{box}").expect()
                eventually(lambda: let_go(gb), 30, "the session is let go", 0.2)
                equal(talk.says("cat one.txt small/w.bin"), "seed\nweights")
            with check("what is there already is no reason to leave anything out, nor is what could not be had at first"):
                web.put("/issue", b"asked for\n")
                answers = [(503, b"")] * 3 + [(200, b"back\n")]
                web.put("/away", lambda request: request.reply(*answers.pop(0)))
                nested = Talk(gb, fake, "nested", {"glovebox.files": f"in/a=dir:seeds/a.txt in/b={web.url}/away in/={web.url}/set.tgz",
                                                   "glovebox.files.more": f"/etc/issue={web.url}/issue"})
                assert nested.ask("true")["is_error"], "nothing was missing"
                eventually(lambda: let_go(gb), 30, "the session is let go", 0.2)
                equal(nested.says("cat in/a in/b in/set/x /etc/issue"), "seed\nback\npackedasked for")
                equal(len(web.seen("/issue")), 1)
            with check("on a volume of the session's own they are what the session left"):
                own = Talk(gb, fake, "own", {"glovebox.files": "dir:seeds", "session.volume": "per-session", "session.box": "ephemeral"})
                own.says("echo mine > seeds/a.txt")
                before = set(boxes(gb))
                eventually(lambda: set(boxes(gb)) < before, 60, "its box is gone", 0.2)
                equal(own.says("cat seeds/a.txt"), "mine")
            check.done()


def test_git(tmp):
    """Repositories, cloned by a box without network, from a server it cannot reach."""
    with WebFiles(tmp) as web, FakeMessages() as fake, \
            Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=settings(web)) as gb:
        check = Checks()
        ids = web.repository("tool", {"README": "first\n"}, {"README": "second\n", "run.sh": "#!/bin/sh\necho it ran\n"}, tag="v1")
        web.repository("trap", {".gitattributes": "* filter=evil\n", "a b/ü.txt": "odd\n", ".githooks/post-checkout": "#!/bin/sh\ntouch /tmp/hook\n",
                                ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = file:///etc\n', "link": ("link", "/etc/passwd")})
        web.put("/old/tool.git/info/refs", f"/git/tool.git/info/refs?service=git-upload-pack")
        talk = Talk(gb, fake, "git", {"glovebox.git": f"{web.git('tool')} old={web.git('tool')}#v1 exact={web.git('tool')}#{ids[0]}",
                                      "glovebox.git.b": f"{web.git('trap')} moved={web.url}/old/tool.git"})
        with check("the branch of its HEAD, one commit of it, clean"):
            equal(talk.says("(cd tool && cat README && ./run.sh && git rev-parse HEAD && git rev-list --count HEAD && git status -sb && git remote get-url origin)"),
                  f"second\nit ran\n{ids[1]}\n1\n## main...origin/main\n{web.git('tool')}")
        with check("a tag, a commit by its id, one that has moved"):
            equal(talk.says("cat old/README exact/README moved/README && git -C old describe --tags"), "first\nfirst\nsecond\nv1")
        with check("no hook, no filter, no submodule; a link is a link of the box"):
            equal(talk.says("cat 'trap/a b/ü.txt' && ls -A trap/x 2>/dev/null | wc -l; ls /tmp/hook 2>&1 | grep -c 'No such'; ls trap/.git/hooks 2>/dev/null | wc -l"),
                  "odd\n0\n1\n0")
        with check("the whole of its history"):
            whole = Talk(gb, fake, "whole", {"glovebox.git": web.git("tool"), "glovebox.git_depth": "0"})
            equal(whole.says("git -C tool rev-list --count HEAD && git -C tool fsck 2>&1 | grep -c error; true"), "2\n0")
        for name, value, why in (("no-ref", web.git("tool") + "#nothing", "no branch, tag or commit"), ("no-repository", web.git("other"), "404"),
                                 ("no-git", web.url + "/x", "404"), ("ssh", "ssh://git@127.0.0.1/x", "https://"), ("ext", "ext::sh", "https://")):
            with check(f"said in the session: {why}"):
                refused(gb, fake, name, {"glovebox.git": value}, why)
        check.done()


def test_refusals(tmp):
    """What is not offered, too much, or not there is said; the host's files and networks are out of reach."""
    with WebFiles(tmp) as web, FakeMessages() as fake, \
            Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=settings(web)) as gb:
        check = Checks()
        other = upload(gb, "of another session")
        web.put("/large", b"x" * (9 << 20))
        web.put("/loop", "/loop")
        web.put("/elsewhere", f"https://localhost:{web.port}/large")
        web.put("/plain", f"http://127.0.0.1:{web.port}/large")
        web.put("/cut", cut)
        web.put("/broken.tgz", b"no archive at all")
        web.put("/up.tgz", tar_of({"../../../etc/out": "out"}))
        cases = [("missing", f"{web.url}/missing", "404"), ("large", f"{web.url}/large", "larger than all"), ("loop", f"{web.url}/loop", "redirects"),
                 ("host", f"https://localhost:{web.port}/large", "session_hosts"), ("elsewhere", f"{web.url}/elsewhere", "session_hosts"),
                 ("plain", f"{web.url}/plain", "only https"), ("cut", f"{web.url}/cut", "without a goodbye"), ("archive", f"x/={web.url}/broken.tgz", "no archive"),
                 ("up", f"x/={web.url}/up.tgz", "contains '..'"),
                 ("path", "/etc/passwd", "never one"), ("dir", "dir:etc", "session_directories"), ("volume", "volume:models", "session_volumes"),
                 ("brain", "file_01nothing", "404"), ("proc", f"/proc/self/x={web.url}/broken.tgz", "in the sandbox")]
        for name, value, why in cases:
            with check(f"{name}: {why}"):
                refused(gb, fake, "no-" + name, {"glovebox.files": value}, why)
        with check("a worker's credential gets the files its session names, and no others"):
            brain = Talk(gb, fake, "named", {"glovebox.files": other})
            key = gb.cli("environment", "key", "create", "--json", brain.brain.status()["default_environment_id"])
            key = json.loads(key.stdout)["key"]
            path = f"/glovebox/v1/sessions/{brain.session}/files/%s/content"
            bearer = {"Authorization": "Bearer " + key}
            equal(gb.brain.get(path % other, headers=bearer).status, 200)
            equal(gb.brain.get(path % upload(gb, "unnamed"), headers=bearer).status, 404)
            equal(gb.brain.get(f"/v1/files/{other}/content", headers=bearer).status, 403)
        check.done()


def test_private_addresses(tmp):
    """Where every host is offered only public addresses are dialled."""
    with WebFiles(tmp) as web, FakeMessages() as fake, \
            Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=settings(web, GLOVEBOX_ORCHESTRATOR_SESSION_HOSTS="*")) as gb:
        check = Checks()
        web.put("/x", b"x")
        for name, url in (("loopback", f"{web.url}/x"), ("name", f"https://localhost:{web.port}/x"), ("metadata", "https://169.254.169.254/x"),
                          ("mapped", f"https://[::ffff:127.0.0.1]:{web.port}/x"), ("short", f"https://127.1:{web.port}/x")):
            with check(name):
                refused(gb, fake, "private-" + name, {"glovebox.files": url}, "not public" if name != "short" else "127.1")
        with check("repositories likewise"):
            refused(gb, fake, "private-git", {"glovebox.git": web.git("x")}, "not public")
        equal(web.server.seen, [])
        check.done()


if __name__ == "__main__":
    run(test_files, test_git, test_refusals, test_private_addresses)
