"""Dockerfiles become images: every instruction known, a cache that knows what changed, contexts that are hostile, crashes in the middle.
labels: privileged timeout=300
"""
import json
import os

from harness import Glovebox, run
from image_files import Tar, root_tar
from support import Checks, api_of, equal, eventually
from test_images import gb_box, import_image, roots

DOCKERFILE = r"""# syntax=docker/dockerfile:1
ARG BASE=shell:1
FROM $BASE AS tools
ARG WHO=nobody
RUN mkdir -p /out && echo "made for $WHO" > /out/tool \
    # a comment between
    && chmod 755 /out/tool

FROM ${BASE}
LABEL purpose="a test" version=1
ENV GREETING="hello there" HOME_OF=/srv/app
WORKDIR $HOME_OF
COPY --from=tools /out/tool /usr/local/bin/tool
COPY --chown=app:app app/ ./code/
COPY a.txt b.txt ./
ADD bundle.tar.gz /srv/bundle
EXPOSE 8080
USER app
RUN id -un > /tmp/built-by && echo "$GREETING" >> /tmp/built-by && echo "building in $(pwd)"
ENTRYPOINT ["/bin/sh", "-c", "echo started > /tmp/started; sleep 1000"]
"""


def context(**files):
    import gzip
    bundle = Tar().add("inside", "packed\n").done()
    tar = Tar().add("a.txt", "A").add("b.txt", "B").add("app/", uid=0).add("app/main.sh", "#!/bin/sh\necho main\n", 0o755).add("app/link", link="main.sh")
    tar.add("bundle.tar.gz", gzip.compress(bundle, mtime=0))
    for name, text in files.items():
        tar.add(name.replace("__", "/"), text)
    return tar.done()


def build(api, dockerfile, name="built:1", files=None, **more):
    """(events, image or None, error or None)"""
    body = {"name": name, "dockerfile": dockerfile, **more}
    if files is not None:
        body["context"] = api.call("POST", "/images/contexts", files).expect(201).json["context"]
    lines, image, error = [], None, None
    for event, data in api.events("POST", "/images/builds", body, timeout=120):
        said = json.loads(data)
        if event == "done":
            image = said
        elif event == "error":
            error = said
        elif "line" in said:
            lines.append(said["line"])
    return lines, image, error


def test_build(tmp):
    """Instructions, cache, stages, errors, the machine's own image, the command line."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        import_image(api, root_tar(), "shell:1").expect(201)
        with check("each instruction does what it does elsewhere"):
            lines, image, error = build(api, DOCKERFILE, files=context(), args={"WHO": "us"})
            assert image, (error, lines)
            equal(image["config"]["labels"], {"purpose": "a test", "version": "1"})
            assert "building in /srv/app" in lines and any("EXPOSE" in line for line in lines), lines
            box = gb_box(gb, api.create(image="built:1").id)
            equal(box.sh("pwd; id -un; echo $GREETING; cat /usr/local/bin/tool /tmp/built-by a.txt b.txt; code/main.sh").ok().stdout,
                  "/srv/app\napp\nhello there\nmade for us\napp\nhello there\nABmain\n")
            equal(box.sh("cat /srv/bundle/inside; stat -c %U code/main.sh a.txt; readlink code/link").ok().stdout, "packed\napp\nroot\nmain.sh\n")
            eventually(lambda: box.sh("cat /tmp/started").stdout == "started\n", 10, "the entrypoint ran")
            box.delete()
        with check("what was done before is not done again, and what changed is"):
            lines, again, error = build(api, DOCKERFILE, files=context(), args={"WHO": "us"})
            equal(again and again["id"], image["id"], error)
            equal(len([line for line in lines if "as it was" in line]), 7, lines)
            lines, other, error = build(api, DOCKERFILE, files=context(), args={"WHO": "them"}, name="built:2")
            assert other and other["id"] != image["id"], error
            assert "building in /srv/app" in lines, lines
            lines, other, error = build(api, "FROM shell:1\nCOPY a.txt /\nRUN cat /a.txt\n", files=Tar().add("a.txt", "1").done(), name="c:1")
            lines, again, error = build(api, "FROM shell:1\nCOPY a.txt /\nRUN cat /a.txt\n", files=Tar().add("a.txt", "2").done(), name="c:2")
            assert again and again["id"] != other["id"] and "2" in lines, (error, lines)
            lines, again, error = build(api, "FROM shell:1\nRUN echo anew\n", name="c:3")
            lines, again, error = build(api, "FROM shell:1\nRUN echo anew\n", name="c:3", fresh=True)
            assert "anew" in lines, lines
        with check("what goes wrong says where"):
            for text, what in (("FROM shell:1\nRUN exit 7\n", "line 2: RUN: ended with exit code 7"),
                               ("FROM shell:1\nCOPY missing /x\n", "missing"), ("FROM shell:1\nNONSENSE\n", "line 2"),
                               ("FROM shell:1\nCOPY ../../etc/shadow /x\n", "upwards"), ("RUN true\n", "FROM"),
                               ("FROM shell:1\nENV A=" + "x" * 9000 + "\n" + "ENV A=$A$A\n" * 4, "longer than"),
                               ("FROM shell:1\nADD http://127.0.0.1/x /x\n", "not fetched"), ("FROM shell:1\nCOPY --from=nowhere a b\n", "nowhere")):
                lines, image, error = build(api, text, files=context(), name="bad:1")
                assert image is None and error and what in error["error"], (text, error, lines)
            api.call("GET", "/images/bad:1").refused(404)
        with check("a context can neither bring nor take what is outside"):
            hostile = Tar().add("leak", link="/etc/shadow").add("dir", link="../../../../../../etc").done()
            for text in ("FROM shell:1\nCOPY leak /x\n", "FROM shell:1\nCOPY dir/shadow /x\n"):
                lines, image, error = build(api, text, files=hostile, name="bad:2")
                assert image is None, lines
            lines, image, error = build(api, "FROM shell:1\nRUN ln -s / /up && ln -s /proc/1/root /up2\nCOPY a.txt /up/up2/../x/y\n", files=context(), name="in:1")
            assert not os.path.exists("/x/y"), "it came out"
        with check("over the machine's own image"):
            size = lambda text: build(api, f"FROM host\nRUN {text}\n", name="size:1")[1]["size_bytes"]
            made, less = size("head -c 3000000 /dev/zero > /srv/big"), size("head -c 3000000 /dev/zero > /srv/big && rm /srv/big")
            assert 3_000_000 <= made < 4_000_000 and less < 1_000_000, (made, less)
            lines, image, error = build(api, "FROM host\nENV A=1\nRUN echo ran > /srv/ran && mkdir /srv/d\nCOPY a.txt /srv/d/\nWORKDIR /srv/d\n",
                                        files=context(), name="over:1")
            assert image, (error, lines)
            box = gb_box(gb, api.create(image="over:1").id)
            equal(box.sh("cat a.txt /srv/ran; echo $A; python3 -c 'print(6*7)'; stat -c %a /tmp").ok().stdout, "Aran\n1\n42\n1777\n")
            box.delete()
        with check("the command line sends a folder, without what .dockerignore names"):
            folder = os.path.join(tmp, "project")
            os.makedirs(folder + "/sub")
            for name, text in {"Dockerfile": "FROM shell:1\nCOPY . /all/\nRUN ls /all /all/sub\n", "keep": "1", "secret": "2", "sub/file": "3",
                               ".dockerignore": "secret\n"}.items():
                with open(f"{folder}/{name}", "w") as file:
                    file.write(text)
            done = gb.cli("image", "build", folder, "--name=folder:1")
            equal(done.returncode, 0, done.stderr)
            assert "keep" in done.stderr and "secret" not in done.stderr, done.stderr
            equal(json.loads(done.stdout)["name"], "folder:1")
            assert "folder:1" in gb.cli("image", "ls").stdout
            equal(gb.cli("image", "rm", "folder:1").returncode, 0)
        with check("what a client of the platform keeps beside its context may be long, and nonsense"):
            path = "/platform/v1/sandbox-template-builds"
            made = api.call("POST", path, {"name": "noted:1", "dockerfile": "FROM shell:1\nRUN echo noted > /noted\n"}).expect(200, 201).json
            builder = gb_box(gb, api.create(image=made["builder"]["image"]).id)
            folder = "/var/lib/tensorlake/rootfs-builder/build"
            builder.sh(f"mkdir -p {folder}/context && head -c 200000 /dev/zero | tr '\\0' x > {folder}/spec.json").ok()
            builder.sh(f"{made['builder']['command']} --metadata-out /tmp/made", timeout=60).ok()
            noted = api.call("POST", f"{path}/{made['buildId']}/complete", {}).expect(200).json
            equal(json.loads(builder.sh("cat /tmp/made").stdout)["snapshot_id"], noted["id"])
            builder.delete()
            api.call("DELETE", "/images/noted:1").expect(200, 204)
        with check("who goes away ends the build, and nothing of it stays"):
            events = api.events("POST", "/images/builds", {"name": "slow:1", "dockerfile": "FROM shell:1\nRUN echo begun; sleep 1000\n"}, timeout=60)
            for _, data in events:
                if json.loads(data).get("line") == "begun":
                    break
            events.close()
            for number in range(5):  # and while that step's sandbox is being made
                events = api.events("POST", "/images/builds", {"name": "slow:1", "dockerfile": f"FROM shell:1\nRUN sleep 1000 # {number}\n"}, timeout=60)
                for _, data in events:
                    if json.loads(data).get("line", "").startswith("step 2"):
                        break
                events.close()
            eventually(lambda: not [s for s in api.alive() if s.get("image", "").startswith("build:")], 30, "its sandbox is gone")
            eventually(lambda: not [r for r in roots(gb) if r.startswith(".new-")], 30, "no draft is left")
        check.done()


def test_build_killed(tmp):
    """An engine killed in the middle of a step leaves no sandbox and no draft; the next build goes on from the last whole step."""
    with Glovebox(tmp) as gb:
        api = api_of(gb)
        import_image(api, root_tar(), "shell:1").expect(201)
        text = "FROM shell:1\nRUN echo first > /first\nRUN echo second; sleep 2; echo done\n"
        events = api.events("POST", "/images/builds", {"name": "k:1", "dockerfile": text}, timeout=60)
        for _, data in events:
            if json.loads(data).get("line") == "second":
                break
        gb.kill_engine()
        events.close()
        api = api_of(gb)
        eventually(lambda: not api.alive(), 30, "no sandbox of the build is left")
        eventually(lambda: not [r for r in roots(gb) if r.startswith(".new-")], 10, "no draft is left")
        lines, image, error = build(api, text, name="k:1")
        assert image, error
        equal(len([line for line in lines if "as it was" in line]), 1, lines)


if __name__ == "__main__":
    run(test_build, test_build_killed)
