"""Images from a registry that the test runs: with and without sign-in, lists of platforms, redirects, broken connections, lies.
labels: privileged timeout=240
"""
import base64
import contextlib
import http.server
import json
import threading
import urllib.parse

from harness import Glovebox, run
from image_files import OciImage, Tar, root_tar
from support import Checks, api_of, equal
from test_images import gb_box


class Registry(http.server.ThreadingHTTPServer):
    """The read side of a registry. What it should do wrong stands in `faults`."""
    daemon_threads = True

    def __init__(self, images, sign_in=None):
        self.images, self.sign_in = images, sign_in  # {repository: {tag: OciImage}}; None, "basic" or "bearer"
        self.faults, self.asked = {}, []
        super().__init__(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def allowed(self, repository):
        given = self.headers.get("Authorization", "")
        if self.server.sign_in == "basic":
            if given == "Basic " + base64.b64encode(b"me:pass word").decode():
                return True
            self.answer(401, WWW_Authenticate='Basic realm="here"')
            return False
        if self.server.sign_in == "bearer" and given != "Bearer token-for-" + repository:
            self.answer(401, WWW_Authenticate=f'Bearer realm="http://{self.server.host}/token",service="reg, istry",scope="repository:{repository}:pull"')
            return False
        return True

    def do_GET(self):
        server, parts = self.server, urllib.parse.urlsplit(self.path)
        server.asked.append((self.path, dict(self.headers)))
        if parts.path == "/token":
            query = urllib.parse.parse_qs(parts.query)
            assert query["service"] == ["reg, istry"], query
            return self.answer(200, json.dumps({"token": "token-for-" + query["scope"][0].split(":")[1]}).encode())
        if parts.path.startswith("/elsewhere/"):
            assert "Authorization" not in self.headers or server.faults.get("same host")
            return self.blob(parts.path.split("/")[-1])
        repository, kind, what = parts.path.removeprefix("/v2/").rsplit("/", 2)
        if not self.allowed(repository):
            return None
        tags = server.images.get(repository)
        if tags is None:
            return self.answer(404, b"{}")
        if kind == "manifests":
            for tag, image in tags.items():
                if what == tag and server.faults.get("list"):
                    return self.answer(200, image.index, Content_Type="application/vnd.oci.image.index.v1+json")
                if what in (tag, image.digest):
                    body = image.manifest + (b" " if server.faults.get("other manifest") else b"")
                    return self.answer(200, body, Content_Type="application/vnd.oci.image.manifest.v1+json")
            return self.answer(404, b"{}")
        if server.faults.get("redirect"):
            return self.answer(307, Location=f"http://{server.host}/elsewhere/{what}")
        if server.faults.get("redirect away"):
            return self.answer(307, Location="http://192.0.2.1/" + what)
        return self.blob(what)

    def blob(self, digest):
        blob = next((i.blobs[digest] for t in self.server.images.values() for i in t.values() if digest in i.blobs), None)
        if blob is None:
            return self.answer(404)
        large = len(blob) > 100_000
        if large and self.server.faults.get("damage"):
            blob = blob[:-1] + bytes([blob[-1] ^ 1])
        if large and self.server.faults.get("longer"):
            blob += b"more"
        start, status = 0, 200
        if (asked := self.headers.get("Range")) and not self.server.faults.get("no ranges"):
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        if large and self.server.faults.get("break", 0) > 0:
            self.server.faults["break"] -= 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(blob) - start))
            self.end_headers()
            self.wfile.write(blob[start:start + 50_000])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
            return None
        return self.answer(status, blob[start:])


def pull(api, reference, **more):
    lines = []
    for event, data in api.events("POST", "/images/pull", {"reference": reference, **more}, timeout=120):
        said = json.loads(data)
        if event in ("done", "error"):
            return said, lines
        if "line" in said:
            lines.append(said["line"])
    raise AssertionError("the stream ended without an end")


def test_pull(tmp):
    """Everything a registry can do right, and wrong."""
    image = OciImage([root_tar(), Tar().add("etc/tag", "one").done()], {"Env": ["FROM_REGISTRY=yes"]})
    second = OciImage([*image.layers, Tar().add("etc/tag", "two").done()])
    with Registry({"team/shell": {"1": image, "2": second}}) as registry, Glovebox(tmp) as gb:
        check, api, name = Checks(), api_of(gb), f"{registry.host}/team/shell"
        with check("anonymous, by tag; a box runs from it"):
            done, lines = pull(api, name + ":1")
            equal(done.get("name"), name + ":1", done)
            equal(done["digest"], image.digest)
            box = gb_box(gb, api.create(image=name + ":1").id)
            equal(box.sh("echo $FROM_REGISTRY; cat /etc/tag").ok().stdout, "yes\none\n")
            box.delete()
        with check("only what is not here is fetched; by digest, under another name, from a list of platforms"):
            registry.asked.clear()
            registry.faults = {"list": True}
            done, lines = pull(api, name + ":2", name="two")
            assert done.get("name") == "two", done
            equal(len([path for path, _ in registry.asked if "/blobs/" in path]), 2, registry.asked)  # configuration and one layer
            registry.faults = {}
            done, lines = pull(api, f"{name}@{second.digest}", name="by-digest")
            equal(done.get("digest"), second.digest, done)
            done, lines = pull(api, f"{name}@{second.digest}")
            equal(done.get("name"), f"{name}@{second.digest}", done)
            api.call("DELETE", "/images/" + urllib.parse.quote(f"{name}@{second.digest}", safe="")).expect(204)
        for what, faults in {"redirected": {"redirect": True}, "broken off twice and taken up": {"break": 2},
                             "broken off, from the start again": {"break": 1, "no ranges": True}}.items():
            with check(f"blobs that are {what}"):
                api.call("DELETE", "/images/" + urllib.parse.quote(name + ":1", safe=""))
                for other in ("two", "by-digest"):
                    api.call("DELETE", "/images/" + other)
                api.call("POST", "/images/prune", {}).expect(200)
                registry.faults = faults
                done, lines = pull(api, name + ":1")
                equal(done.get("digest"), image.digest, done)
        for what, faults in {"damaged": {"damage": True}, "longer than said": {"longer": True}, "redirected to where no https is": {"redirect away": True}}.items():
            with check(f"blobs that are {what} are refused"):
                api.call("DELETE", "/images/" + urllib.parse.quote(name + ":1", safe=""))
                api.call("POST", "/images/prune", {}).expect(200)
                registry.faults = faults
                done, lines = pull(api, name + ":1")
                assert "error" in done, done
        with check("a manifest that is not its digest's, an image that is not there, a reference that is none"):
            registry.faults = {"other manifest": True}
            done, _ = pull(api, f"{name}@{image.digest}", name="x")
            assert "error" in done, done
            registry.faults = {}
            done, _ = pull(api, name + ":none")
            equal(done.get("status"), 404, done)
            for wrong in ("", "UPPER", "a b", "x@sha256:12", "http://a/b", "../x", "a/../b"):
                api.call("POST", "/images/pull", {"reference": wrong}).refused(400)
        for kind in ("bearer", "basic"):
            with check(f"sign-in: {kind}"), Registry({"team/shell": {"1": image}}, sign_in=kind) as private:
                more = {"user": "me", "password": "pass word"} if kind == "basic" else {}
                done, _ = pull(api, f"{private.host}/team/shell:1", name=f"private-{kind}", **more)
                equal(done.get("digest"), image.digest, done)
                if kind == "basic":
                    done, _ = pull(api, f"{private.host}/team/shell:1", name="p2")
                    equal(done.get("status"), 403, done)
                    done = gb.cli("image", "pull", f"{private.host}/team/shell:1", "--name=cli", "--user=me", environment={"GLOVEBOX_REGISTRY_PASSWORD": "pass word"})
                    equal(done.returncode, 0, done.stderr)
                    assert "pass word" not in gb.log(), "the password is in the log"
        with check("nobody there"):
            done, _ = pull(api, "127.0.0.1:1/x/y:1", name="nobody")
            assert done.get("status") in (502, 503, 504), done
        check.done()


if __name__ == "__main__":
    run(test_pull)
