"""A snapshot goes to a file and comes back here or elsewhere as it was; a file somebody else made can do no harm.
labels: privileged timeout=300
"""
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import tarfile

from harness import Glovebox, run
from image_files import root_tar
from snapshots import Snapshots, fill, same_files
from support import Checks, Owned, api_of, equal, eventually, note


def held(gb):
    folders = {name: len(os.listdir(gb.engine_path("pool", name))) for name in ("boxes", "snapshots", "manifests")}
    return {"namespaces": len(Owned(gb.state, gb.instance).namespaces()), **folders}


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def frame(number, content):
    return (0x184D2A50 + number).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


def file_of(archive, head=None, digest=None):
    """A file as a stranger makes it: all is right but the code, for which he has no key."""
    begin = frame(0, json.dumps({"format": 1, "sandbox": {}} if head is None else head).encode()) + archive
    digest = digest or hashlib.sha256(begin).hexdigest()
    return begin + frame(1, f"sha256 {digest}\nmac {'A' * 43}\n".encode())


def tar(*members, **pax):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, more in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            content = more.pop("content", b"")
            info.size = more.pop("size", len(content))
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if content else None)
    return out.getvalue()


FILE, DIR, LINK, HARD, CHAR, BLOCK, PIPE = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                            tarfile.BLKTYPE, tarfile.FIFOTYPE)


def test_there_and_back(tmp):
    """What goes out comes back, by the API and by the command line, here and on another installation."""
    with Glovebox(tmp) as gb, Glovebox(tmp, name="other") as other:
        check, api = Checks(), api_of(gb)
        snapshots, elsewhere = Snapshots(api), Snapshots(api_of(other))
        box = api.create(name="source", entrypoint=["/bin/sh", "-c", "echo booted >> /boots; exec sleep 3000"],
                         network={"allow_internet_access": False}, resources={"disk_mb": 20480})
        eventually(lambda: box.sh("cat /boots").stdout == "booted", 20, "the entrypoint")
        fill(box)
        box.sh("truncate -s 64M /data/hole; printf end >> /data/hole; printf x > \"/data/$(printf 'not\\377text')\"").ok()
        taken = snapshots.take(box.id)
        path = os.path.join(tmp, "one.tar.zst")
        with check("the command line writes a file that is there once it is whole"):
            done = gb.cli("snapshot", "export", taken["id"], path)
            equal(done.returncode, 0, done.stderr)
            assert 5_000_000 < os.path.getsize(path) < 20_000_000, os.path.getsize(path)
            done = gb.cli("snapshot", "export", "a" * 21, path + ".none")
            equal((done.returncode, os.path.exists(path + ".none")), (3, False), done.stderr)
        with open(path, "rb") as file:
            whole = file.read()
        with check("anybody's zstd and tar can look into it"):
            if not shutil.which("zstd"):
                note("no zstd here")
            else:
                listing = subprocess.run(f"zstd -dcq {path} | tar t", shell=True, capture_output=True, text=True, check=True).stdout
                assert "data/one\n" in listing and "etc/protocols\n" in listing, listing[-2000:]

        def is_the_same(made):
            same_files(made)
            made.sh("[ $(stat -c %s /data/hole) = 67108867 ] && [ $(stat -c %b /data/hole) -lt 1000 ] && [ $(tail -c3 /data/hole) = end ]").ok()
            made.sh("[ -e \"/data/$(printf 'not\\377text')\" ] && [ ! -e /etc/services ]").ok()
            eventually(lambda: made.sh("cat /boots").stdout == "booted\nbooted", 20, "its entrypoint starts again")

        with check("it comes back here, as a snapshot of its own, with all it was"):
            back = snapshots.bring(whole).expect(201).json
            assert back["id"] != taken["id"] and back["status"] == "completed" and back["sandbox_name"] == "source", back
            assert back["size_bytes"] > 5_000_000 and "parent_id" not in back, back
            made = api.create(snapshot_id=back["id"])
            is_the_same(made)
            record = api.get(made.id)
            equal(record["network"]["allow_internet_access"], False, "what it may reach was ours to say")
            equal(record["resources"]["disk_mb"], 20480)
        with check("of a rollback it can be the target as well"):
            snapshots.rollback(box.id, back["id"]).expect(200)
            same_files(api.box("source"))
        with check("on another installation it is a stranger's: the same files, and nothing of what it may reach"):
            done = other.cli("snapshot", "import", path)
            equal(done.returncode, 0, done.stderr)
            there = elsewhere.list()
            equal(len(there), 1)
            made = elsewhere.api.create(snapshot_id=there[0]["id"], network={"allow_internet_access": False})
            is_the_same(made)
            made.delete().expect(204)
            again = elsewhere.export(there[0]["id"])  # of what came in there is a way out again
            third = snapshots.bring(again).expect(201).json
            is_the_same(api.create(snapshot_id=third["id"]))
        with check("above an image, a tree of which was taken away"):
            deep = {"opt/": "", "opt/a/": "", "opt/a/b/": "", "opt/a/b/c/": "", "opt/a/b/c/d/": "", "opt/a/b/c/d/file": "x", "opt/kept": "x"}
            api.call("POST", "/images?name=deep:1", root_tar(deep), timeout=120).expect(201)
            above = api.create(image="deep:1")
            above.sh("[ -f /opt/a/b/c/d/file ] && rm -r /opt/a").ok()
            brought = snapshots.bring(snapshots.export(snapshots.take(above.id)["id"])).expect(201).json
            api.create(snapshot_id=brought["id"]).sh("[ -f /opt/kept ] && [ ! -e /opt/a ]").ok()
        with check("standard input and output"):
            out = gb.cli("snapshot", "export", taken["id"], "-", text=False)
            equal(out.returncode, 0, out.stderr)
            done = gb.cli("snapshot", "import", "-", input=out.stdout, text=False)
            equal(done.returncode, 0, done.stderr)
        with check("one that was changed behind our back is refused before the first byte"):
            manifest = gb.engine_path("pool", "manifests", taken["id"])
            with open(manifest, "rb") as file:
                as_it_was = file.read()
            with open(manifest, "wb") as file:
                file.write(as_it_was.replace(taken["id"].encode(), b"a" * 21))
            api.call("GET", f"/snapshots/{taken['id']}/export").refused(403, "SNAPSHOT_INVALID")
            done = gb.cli("snapshot", "export", taken["id"], path + ".none")
            equal((done.returncode, os.path.exists(path + ".none")), (1, False), done.stderr)
            with open(manifest, "wb") as file:
                file.write(as_it_was)
        with check("one whose files cannot be read to the end ends in a broken answer, not in a short one"):
            box.sh("dd if=/dev/urandom of=/data/much bs=1M count=60 status=none").ok()
            much = snapshots.take(box.id)["id"]
            connection, answer = api.open("GET", f"/snapshots/{much}/export")
            equal(answer.status, 200)
            answer.read(1000)
            packers = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and f"snapshots/{much}/u".encode() in cmdline(pid)]
            assert packers, "nobody packs"
            for pid in packers:
                os.kill(pid, 9)
            try:
                rest = answer.read()
                raise AssertionError(f"all is well, and {len(rest)} bytes came")
            except (http.client.HTTPException, OSError):
                pass
            connection.close()
            eventually(lambda: snapshots.delete(much).status == 204, 30, "deleted")
        with check("a snapshot that is being read cannot be deleted, and can once the reader is gone"):
            box.sh("dd if=/dev/urandom of=/data/much bs=1M count=60 status=none").ok()
            large = snapshots.take(box.id)["id"]
            connection, answer = api.open("GET", f"/snapshots/{large}/export")
            answer.read(1000)
            snapshots.delete(large).refused(409, "SNAPSHOT_IN_USE")
            answer.close()
            connection.close()
            eventually(lambda: snapshots.delete(large).status == 204, 30, "deleted after all")
        check.done()


def test_strangers(tmp):
    """Files that were made to do harm: refused, or taken as far as a sandbox could have made the same itself."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        api.call("POST", "/images?name=img:1", root_tar()).expect(201)
        box = api.create()
        box.sh("echo then > /file").ok()
        good = snapshots.export(snapshots.take(box.id)["id"])
        eventually(lambda: held(gb)["boxes"] >= 9, 30, "all blanks")
        before = held(gb)
        known = [one["id"] for one in snapshots.list()]

        def refused(name, file, *statuses):
            with check(f"refused: {name}"):
                snapshots.bring(file).refused(*statuses or (400,))
                equal([one["id"] for one in snapshots.list()], known)

        refused("nothing", b"")
        refused("something else", b"PK\3\4" + b"x" * 5000)
        refused("a head longer than any", frame(0, b"")[:4] + b"\xff\xff\xff\x7f" + b"{}")
        refused("a head that is no JSON", frame(0, b"{") + good[100:])
        refused("another format", file_of(tar(), {"format": 2}), 501)
        refused("an image that is not here", file_of(tar(), {"format": 1, "sandbox": {"image": "nobody/has:this"}}))
        refused("an image that is another here", file_of(tar(), {"format": 1, "image_generation": "other", "sandbox": {"image": "img:1"}}), 409)
        refused("a sandbox that cannot be", file_of(tar(), {"format": 1, "sandbox": {"resources": {"disk_mb": -5}}}))
        refused("one byte changed", good[:-200] + bytes([good[-200] ^ 1]) + good[-199:])
        refused("cut short", good[:-1])
        refused("cut in the middle", good[: len(good) // 2])
        refused("something behind it", good + b"x")
        refused("a checksum that is not right", file_of(tar(("a", FILE, {"content": b"x"})), digest="0" * 64))
        refused("no archive", file_of(b"nonsense" * 200))
        refused("a device", file_of(tar(("null", CHAR, {"devmajor": 1, "devminor": 3}))))
        refused("a disk", file_of(tar(("disk", BLOCK, {"devmajor": 0, "devminor": 0}))))
        refused("a name that leads upwards", file_of(tar(("../../escaped", FILE, {"content": b"x"}))))
        refused("an absolute name", file_of(tar(("/escaped", FILE, {"content": b"x"}))))
        refused("a link out of the tree, made hard", file_of(tar(("shadow", HARD, {"linkname": "../../../../etc/shadow"}))))
        refused("an owner that no sandbox has", file_of(tar(("a", FILE, {"content": b"x", "uid": 100_000}))))
        refused("a terabyte of nothing", file_of(tar(("a", FILE, {"size": 1 << 40}))))
        with check("what a sandbox could have made itself is taken, and leads nowhere"):
            wicked = tar(
                ("out", LINK, {"linkname": "/etc"}), ("out/through-a-link", FILE, {"content": b"inside"}),
                ("up", LINK, {"linkname": "../../../../../../.."}), ("up/above", FILE, {"content": b"inside"}),
                ("suid", FILE, {"content": b"#!/bin/sh\n", "mode": 0o4755}),
                ("marked", DIR, {"mode": 0o755, "pax_headers": {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y",
                                                                "SCHILY.xattr.security.capability": "x", "SCHILY.xattr.user.fine": "v"}}),
                ("usr", DIR, {"mode": 0o755, "pax_headers": {"SCHILY.xattr.trusted.overlay.redirect": "/root"}}),
                ("etc/hostname", LINK, {"linkname": "/proc/1/root/escaped"}), ("pipe", PIPE, {}),
                ("etc/services", CHAR, {"devmajor": 0, "devminor": 0}))
            made = snapshots.bring(file_of(wicked)).expect(201).json["id"]
            one = api.create(snapshot_id=made)
            equal(one.sh("cat /etc/through-a-link; cat /above").stdout, "insideinside")
            one.sh("[ ! -e /etc/services ] && [ -f /etc/hostname ] && [ -d /usr/bin ] && [ -p /pipe ]").ok()
            for place in ("/through-a-link", "/etc/through-a-link", "/above", "/escaped"):
                assert not os.path.exists(place), f"{place} is on this machine"
            names = os.listxattr(gb.engine_path("pool", "snapshots", made, "u", "marked"))
            assert "user.fine" in names and not [n for n in names if n.split(".")[0] in ("trusted", "security") or ".overlay." in n], names
            one.delete().expect(204)
            snapshots.delete(made).expect(204)
        with check("a client that goes away in the middle leaves nothing"):
            connection = http.client.HTTPConnection(*api.address, timeout=30)
            connection.putrequest("POST", "/snapshots/import")
            for name, value in {**api.headers(), "Content-Length": str(len(good) + 1000)}.items():
                if name.lower() != "host":
                    connection.putheader(name, value)
            connection.endheaders()
            connection.send(good[: len(good) // 2])
            eventually(lambda: held(gb)["boxes"] > before["boxes"], 30, "it is being unpacked")
            connection.close()
            eventually(lambda: held(gb) == before, 30, f"as before: {before}")
        with check("nothing of all that is left"):
            eventually(lambda: held(gb) == before, 30, f"as before: {before}")
            equal([one["id"] for one in snapshots.list()], known)
            box.sh("[ $(cat /file) = then ]").ok()
        check.done()


if __name__ == "__main__":
    run(test_there_and_back, test_strangers)
