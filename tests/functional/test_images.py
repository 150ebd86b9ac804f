"""Images come in as archives of any of three kinds, boxes start from them, hostile ones change nothing, and a crash leaves nothing.
labels: privileged timeout=300
"""
import concurrent.futures
import contextlib
import gzip
import os
import socket
import sqlite3
import tarfile
import urllib.parse

from harness import Box, Glovebox, run
from image_files import OciImage, Tar, root_tar, shell_files
from support import Checks, api_of, equal, eventually


def import_image(api, data, name=None, **query):
    if name:
        query["name"] = name
    return api.call("POST", "/images?" + urllib.parse.urlencode(query), data, timeout=120)


def roots(gb):
    return sorted(os.listdir(gb.engine_path("pool", "images")))


def test_images(tmp):
    """Root tarball, OCI layout, docker archive; what boxes of them see; names, ids, removal."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        shell = root_tar({"etc/marker": "root tarball\n"})
        with check("a root tarball becomes an image, and a box runs from it alone"):
            image = import_image(api, gzip.compress(shell, 1, mtime=0), "plain:1").expect(201).json
            assert image["id"].startswith("sha256:"), image
            box = api.create(image="plain:1")
            equal(api.get(box.id)["image"], "plain:1")
            box = gb_box(gb, box.id)
            equal(box.sh("cat /etc/marker; ls /usr/bin/python3 2>/dev/null; pwd; id -u").ok().stdout, "root tarball\n/workspace\n0\n")
            box.sh("echo mine > /etc/marker && rm /usr/bin/dd && mkdir /new").ok()
            other = gb_box(gb, api.create(image="plain:1").id)
            equal(other.sh("cat /etc/marker; test -e /usr/bin/dd && echo there; test -e /new || echo clean").ok().stdout,
                  "root tarball\nthere\nclean\n")
            other.delete()
        with check("the same bytes are there once, under any number of names"):
            before = roots(gb)
            again = import_image(api, gzip.compress(shell, 1, mtime=0), "plain:2").expect(201).json
            equal(again["id"], api.call("GET", "/images/plain:1").expect(200).json["id"])
            eventually(lambda: roots(gb) == before, 30, "what was unpacked a second time is gone")
        layered = OciImage(
            [shell, Tar().add("etc/gone", "1").add("opaque/old", "1").add("keep/a", "1").done(),
             Tar().add("etc/.wh.gone").add("opaque/.wh..wh..opq").add("opaque/new", "2").add("run.sh", "#!/bin/sh\necho $GREETING; id -u; pwd\n",
                                                                                             0o755)
             .add("srv/app/", uid=1234, gid=1234).done()],
            {"Env": ["GREETING=hello", "PATH=/usr/bin"], "WorkingDir": "/srv/app", "User": "app", "Labels": {"a": "b"}})
        with check("an OCI layout: layers, whiteouts, environment, directory and user"):
            image = import_image(api, layered.layout("example.org/layered:v1")).expect(201).json
            equal(image["name"], "example.org/layered:v1")
            equal(image["config"]["user"], "app")
            equal(image["digest"], layered.digest)
            box = gb_box(gb, api.create(image="example.org/layered:v1").id)
            equal(box.run("/run.sh").ok().stdout, "hello\n1234\n/srv/app\n")
            equal(box.sh("ls /etc/gone /opaque /keep 2>/dev/null").stdout, "/keep:\na\n\n/opaque:\nnew\n")
            equal(box.sh("echo $HOME; touch mine && stat -c %U mine").ok().stdout, "/home/app\napp\n")
            box.delete()
        with check("what docker save writes, and layers it shares with another are not unpacked again"):
            more = OciImage([*layered.layers, Tar().add("etc/more", "1").done()], {"Entrypoint": ["/bin/sh", "-c", "echo $0 > /tmp/said; sleep 60"],
                                                                                  "Cmd": ["from-cmd"]})
            import_image(api, more.docker_archive("more:1")).expect(201)
            box = gb_box(gb, api.create(image="more:1").id)
            equal(box.sh("while ! test -s /tmp/said; do sleep 0.05; done; cat /tmp/said /etc/more").ok().stdout, "from-cmd\n1\n")
            box.delete()
        with check("found by name, by name without ':latest', by id; listed newest first"):
            import_image(api, shell, "short:latest").expect(201)
            equal(api.call("GET", "/images/short").expect(200).json["name"], "short:latest")
            names = [image["name"] for image in api.call("GET", "/images").expect(200).json["images"]]
            equal(names[0], "short:latest")
            by_id = api.create(image=image["id"])
            api.delete(by_id.id).expect()
            api.call("GET", "/images/none").refused(404, "IMAGE_NOT_FOUND")
            api.call("POST", "/sandboxes", {"image": "none"}).refused(400, "IMAGE_NOT_FOUND")
        with check("boxes outlive the name of their image, and the engine"):
            kept = api.create(image="plain:1", name="kept")
            for name in ("plain:1", "plain:2", "short:latest"):
                api.call("DELETE", f"/images/{name}").expect(204)
            api.call("DELETE", "/images/plain:1").refused(404)
            gb.kill_engine()
            api = api_of(gb)
            box = gb_box(gb, kept.id)
            equal(box.sh("cat /etc/marker").ok().stdout, "root tarball\n")
        with check("without boxes and names a root goes"):
            for name in ("example.org%2Flayered:v1", "more:1"):
                api.call("DELETE", f"/images/{name}").expect(204)
            api.delete_all()
            api.call("POST", "/images/prune", {}).expect(200)
            eventually(lambda: api.call("POST", "/images/prune", {}).expect(200) and not roots(gb), 30, "no roots are left")
        check.done()


def gb_box(gb, box_id):
    return Box(gb, {"id": box_id})


HOSTILE = {
    "leads upwards": lambda tar, tmp: tar.add("../../../../../../../../tmp/escaped", "x"),
    "is absolute": lambda tar, tmp: tar.add(f"{tmp}/escaped", "x"),
    "writes through a link that leads out": lambda tar, tmp: tar.add("out", link=tmp).add("out/escaped", "x"),
    "hard-links what is outside": lambda tar, tmp: tar.add("h", hard="../../../../../../etc/shadow"),
    "hard-links an absolute name": lambda tar, tmp: tar.add("h", hard="/etc/shadow"),
    "holds a device": lambda tar, tmp: tar.add("dev/null", kind=tarfile.CHRTYPE),
    "holds a disk": lambda tar, tmp: tar.add("disk", kind=tarfile.BLKTYPE),
    "belongs to a user of the host": lambda tar, tmp: tar.add("f", "x", uid=3_000_000),
    "is cut off": None,
    "is noise": None,
    "is empty": None,
}


def test_hostile(tmp):
    """Each hostile archive is refused with a reason, and neither the machine nor the store is changed by it."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        clean = roots(gb)
        for what, build in HOSTILE.items():
            with check("an archive that " + what):
                data = {"is cut off": root_tar()[:200_000], "is noise": os.urandom(100_000), "is empty": b""}.get(what)
                if build:
                    tar = Tar().add("first", "1")
                    build(tar, tmp)
                    data = tar.done()
                answer = import_image(api, data, "bad")
                assert answer.status == 400, answer
                assert not os.path.exists(f"{tmp}/escaped") and not os.path.exists("/tmp/escaped")
        with check("nothing of them is left"):
            eventually(lambda: roots(gb) == clean, 20, "the store is as it was")
        with check("names that are none"):
            for name in ("", "host", "../x", "a b", "sha256:" + "0" * 64, "x" * 300, "a//b", "a@b", "a@sha256:0", "@sha256:" + "0" * 64):
                answer = import_image(api, Tar().add("f", "1").done(), name)
                assert answer.status in (400, 409), (name, answer)
        with check("proc, dev and etc that are links are replaced before anything is mounted there"):
            tar = Tar().add_files({k: v for k, v in shell_files().items()})
            tar.add("proc", link="/etc").add("dev", link="../../../../../../..").add("sys", "a file")
            import_image(api, tar.done(), "links").expect(201)
            box = gb_box(gb, api.create(image="links").id)
            equal(box.sh("test -e /proc/self/status && test -c /dev/null && test ! -e /etc/self && echo right").ok().stdout, "right\n")
            box.delete()
        with check("set-id programs and attributes for the kernel gain nothing"):
            files = shell_files()
            tar = Tar().add_files(files).add("usr/bin/suid", files["usr/bin/id"][1], 0o6755)
            tar.add("captured", "x", pax={"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.fine": "1"})
            import_image(api, tar.done(), "suid").expect(201)
            box = gb_box(gb, api.create(image="suid").id)
            equal(box.run("/usr/bin/suid", "-u", user="app").ok().stdout, "1234\n")
            box.delete()
        with check("a damaged blob, another machine's image, a layer that is missing"):
            image = OciImage([root_tar()])
            layer = next(key for key, blob in image.blobs.items() if blob[:2] == b"\x1f\x8b")
            answer = import_image(api, image.layout("x:1", damage=layer)).refused(400)
            assert "damaged" in answer.text, answer
            answer = import_image(api, OciImage([root_tar()], machine="m68k").layout("x:1"))
            assert answer.status in (400, 501) and "m68k" in answer.text, answer
            del image.blobs[layer]
            import_image(api, image.layout("x:1")).refused(400)
        with check("an environment that no launcher takes, and a blob that is a hole"):
            env = [f"A{number}=" + "x" * 15_000 for number in range(10)]
            answer = import_image(api, OciImage([root_tar()], {"Env": env}).layout("x:1")).refused(400)
            assert "environment" in answer.text, answer
            tar = Tar().add("oci-layout", '{"imageLayoutVersion":"1.0.0"}')
            tar.add("index.json", image.layout_index())
            sparse = {"GNU.sparse.size": str(8 << 30), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,0"}
            tar.add("blobs/sha256/" + image.digest[7:], b"", pax=sparse)
            answer = import_image(api, tar.done(), "x:1").refused(400)
            assert "holes" in answer.text, answer
            api.delete(api.create().id).expect()
        check.done()


def test_with_others(tmp):
    """Snapshots, pools and sandboxes that are started again keep the image they were made above, whatever its name means by now."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        import_image(api, root_tar({"etc/which": "old\n"}), "img:1").expect(201)
        source = api.create(image="img:1", name="source")
        gb_box(gb, source.id).sh("echo mine > /etc/note").ok()
        taken = api.call("POST", f"/sandboxes/{source.id}/snapshot", {}).expect(202).json["snapshot_id"]
        eventually(lambda: api.call("GET", f"/snapshots/{taken}").expect(200).json["status"] == "completed", 20, "the snapshot")
        pool = api.call("POST", "/sandbox-pools", {"image": "img:1", "warm_containers": 1, "max_containers": 2}).expect(200, 201).json["pool_id"]
        eventually(lambda: api.call("GET", f"/sandbox-pools/{pool}").json["containers"], 20, "a warm sandbox")
        import_image(api, root_tar({"etc/which": "new\n"}), "img:1").expect(201)
        gb.kill_engine()
        api = api_of(gb)
        with check("a snapshot"):
            api.delete(source.id).expect()
            box = api.create(snapshot_id=taken)
            equal(gb_box(gb, box.id).sh("cat /etc/which /etc/note").ok().stdout, "old\nmine\n")
            api.call("POST", "/images/prune", {}).expect(200)
            again = api.create(snapshot_id=taken)
            equal(gb_box(gb, again.id).sh("cat /etc/which").ok().stdout, "old\n")
        with check("a fork, and a rollback"):
            copies = api.call("POST", f"/sandboxes/{box.id}/copy?times=2").expect(200, 201).json["sandboxes"]
            for copy in copies:
                equal(gb_box(gb, copy["sandbox_id"]).sh("cat /etc/which /etc/note").ok().stdout, "old\nmine\n")
        with check("a warm sandbox of a pool, after a restart"):
            claimed = api.call("POST", f"/sandbox-pools/{pool}/sandboxes").expect(200, 201).json["sandbox_id"]
            assert gb_box(gb, claimed).sh("cat /etc/which").ok().stdout in ("old\n", "new\n")
        with check("a new one has what the name means now"):
            equal(gb_box(gb, api.create(image="img:1").id).sh("cat /etc/which").ok().stdout, "new\n")
        with check("so does one whose hold on its image was lost with the power"):
            held = api.create(image="img:1")
            with contextlib.closing(sqlite3.connect(gb.engine_path("images.db"))) as db, db:
                equal(db.execute("DELETE FROM uses WHERE user = ?", (held.id,)).rowcount, 1)
            gb.kill_engine()
            api = api_of(gb)
            copy = api.call("POST", f"/sandboxes/{held.id}/copy?times=1").expect(200, 201).json["sandboxes"][0]["sandbox_id"]
            equal(gb_box(gb, copy).sh("cat /etc/which").ok().stdout, "new\n")
        with check("a sandbox above another generation of the machine's own image than its snapshot says so"):
            plain = api.create()
            other = api.call("POST", f"/sandboxes/{plain.id}/snapshot", {}).expect(202).json["snapshot_id"]
            record = eventually(lambda: (r := api.call("GET", f"/snapshots/{other}").expect(200).json)["status"] == "completed" and r, 20, "the snapshot")
            equal(api.get(api.create(snapshot_id=other).id).get("reason"), None)
            gb.down()
            with contextlib.closing(sqlite3.connect(os.path.join(gb.state, "engine", "engine.db"))) as database, database:  # as if packages were upgraded since
                database.execute("UPDATE snapshots SET record = replace(record, ?, 'before') WHERE id = ?", (record["image_generation"], other))
            gb.start()
            api = api_of(gb)
            reason = api.get(api.create(snapshot_id=other).id).get("reason") or ""
            assert "generation before" in reason and record["image_generation"] in reason, reason
            api.call("DELETE", f"/snapshots/{other}").expect(200, 202, 204)
        with check("an earlier image of the machine stays while a sandbox runs above it, no ready one is above it, and it goes after"):
            kept_ready = api.call("POST", "/sandbox-pools", {"image": "host", "warm_containers": 1}).expect(201).json["pool_id"]
            warm = lambda: [c["id"] for c in api.call("GET", f"/sandbox-pools/{kept_ready}").json["containers"]]
            old_warm = eventually(warm, 30, "a ready one")
            above = api.create(name="above-the-old")
            now, then = api.get(above.id)["host_generation"], "0" * 16
            there = lambda: sorted(n for n in os.listdir(os.path.join(gb.state, "engine", "images")) if n.startswith("host-"))
            equal(there(), ["host-" + now])
            gb.down()
            os.rename(os.path.join(gb.state, "engine", "images", "host-" + now), os.path.join(gb.state, "engine", "images", "host-" + then))
            with contextlib.closing(sqlite3.connect(os.path.join(gb.state, "engine", "engine.db"))) as database, database:
                database.execute("UPDATE sandboxes SET record = replace(record, ?, ?) WHERE id = ?", (now, then, above.id))
            with open(os.path.join(gb.state, "engine", "blanks.image"), "w") as file:
                file.write(then)
            gb.start()
            api = api_of(gb)
            fresh = eventually(lambda: (w := warm()) and w != old_warm and w, 30, "another ready one")
            equal(set(fresh) & set(old_warm), set())
            gb_box(gb, above.id).sh("ls /etc/hostname && [ ! -e /usr/local/bin ]").ok()
            equal(there(), ["host-" + then, "host-" + now])
            api.delete(above.id).expect(204)
            api.call("DELETE", f"/sandbox-pools/{kept_ready}").expect(204)
            gb.down()
            gb.start()
            api = api_of(gb)
            eventually(lambda: there() == ["host-" + now], 30, "only the present one is left")
        with check("what a sandbox that an earlier version started stands on, unknown as it is, stays while it runs, and goes after"):
            of_before = api.create(name="of-before")
            programs = os.path.join(gb.state, "engine", "inside", then)
            gb.down()
            os.rename(os.path.join(gb.state, "engine", "images", "host-" + now), os.path.join(gb.state, "engine", "images", "host-" + then))
            os.makedirs(programs)
            os.utime(programs, (0, 0))
            with contextlib.closing(sqlite3.connect(os.path.join(gb.state, "engine", "engine.db"))) as database, database:
                database.execute("UPDATE sandboxes SET record = json_remove(record, '$.host_generation', '$.inside_version') WHERE id = ?", (of_before.id,))
                database.execute("PRAGMA user_version = 5")
            with open(os.path.join(gb.state, "engine", "blanks.image"), "w") as file:
                file.write(then)
            gb.start()
            api = api_of(gb)
            eventually(lambda: gb.log().count("engine.collect_later") == 2, 30, "both kinds are kept")
            equal(there(), ["host-" + then, "host-" + now])
            assert os.path.isdir(programs)
            gb_box(gb, of_before.id).sh("ls /etc/hostname && [ ! -e /usr/local/bin ]").ok()
            api.delete_all()
            gb.down()
            gb.start()
            api = api_of(gb)
            eventually(lambda: there() == ["host-" + now] and not os.path.exists(programs), 30, "only the present ones are left")
        with check("and when all are gone, the old files go"):
            api.delete_all()
            api.call("DELETE", f"/snapshots/{taken}").expect(200, 202, 204)
            eventually(lambda: api.call("DELETE", f"/sandbox-pools/{pool}").status in (200, 202, 204, 404), 20, "the pool goes")
            api.call("DELETE", "/images/img:1").expect(204)
            eventually(lambda: api.call("POST", "/images/prune", {}).expect(200) and not roots(gb), 30, "no roots are left")
        check.done()


def test_pressed(tmp):
    """Two at once, a client that goes away in the middle, a disk without room."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        with check("the same image twice at once, and others beside it"):
            data = OciImage([root_tar(), Tar().add("etc/two", "2").done()]).layout()
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                answers = list(pool.map(lambda n: import_image(api, data if n < 4 else root_tar({f"f{n}": "x"}), f"at-once:{n}"), range(6)))
            equal([a.status for a in answers], [201] * 6, [a.text for a in answers])
            equal(len({a.json["id"] for a in answers[:4]}), 1)
            for n in (0, 5):
                api.delete(api.create(image=f"at-once:{n}").id).expect()
        with check("who goes away in the middle of an upload leaves nothing"):
            eventually(lambda: not [r for r in roots(gb) if r.startswith(".new-")], 30, "no draft is left")
            before = roots(gb)
            data = root_tar()
            head = f"POST /images?name=half HTTP/1.1\r\nHost: {api.host}\r\nAuthorization: Bearer {api.key}\r\nContent-Length: {len(data)}\r\n\r\n"
            with socket.create_connection(api.address) as connection:
                connection.sendall(head.encode() + data[:len(data) // 2])
                eventually(lambda: roots(gb) != before, 10, "it is being unpacked")
            eventually(lambda: roots(gb) == before, 20, "nothing of it is left")
            api.call("GET", "/images/half").refused(404)
        check.done()
    with Glovebox(tmp, name="full", environment={"GLOVEBOX_ENGINE_RESERVE_MB": "100000000"}) as gb:
        answer = import_image(api_of(gb), root_tar(), "full").refused(429, "DISK_FULL")
        assert "reserve" in answer.text or "free" in answer.text, answer
        equal(roots(gb), [])


POINTS = ("image.after_unpack", "image.before_rename", "image.after_rename", "image.before_name", "image.after_name")


def test_killed(tmp):
    """kill -9 at each durable step of an import: afterwards the image is there whole or not at all, and nothing else is."""
    check = Checks()
    data = OciImage([root_tar(), Tar().add("etc/two", "2").done()]).layout("img:1")
    for point in POINTS:
        with check(f"killed at {point}"):
            with Glovebox(tmp, environment={"GLOVEBOX_FAULT": f"{point}:kill"}, name=point.replace(".", "-")) as gb:
                api = api_of(gb)
                try:
                    import_image(api, data)
                    raise AssertionError("the engine lived on")
                except OSError:
                    pass
                except Exception as error:  # the connection broke in the middle of the answer
                    assert "AssertionError" not in type(error).__name__, error
                gb.down()
                gb.environment.pop("GLOVEBOX_FAULT")
                gb.start()
                api = api_of(gb)
                names = [image["name"] for image in api.call("GET", "/images").expect(200).json["images"]]
                equal(names, ["img:1"] if point == "image.after_name" else [])
                assert not [r for r in roots(gb) if r.startswith(".new-")], roots(gb)
                import_image(api, data).expect(201)
                box = gb_box(gb, api.create(image="img:1").id)
                equal(box.sh("cat /etc/two").ok().stdout, "2\n")
    check.done()


if __name__ == "__main__":
    run(test_images, test_hostile, test_with_others, test_pressed, test_killed)
