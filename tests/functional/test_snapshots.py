"""Snapshots: taken while all runs, restored, forked, rolled back, listed and deleted; each new sandbox is its own; limits hold.
labels: privileged timeout=300
"""
import concurrent.futures
import fcntl
import json
import os
import struct
import threading
import time

from harness import Glovebox, run
from life import frozen, restart_machine, state, suspend, ticking, ticks
from snapshots import Snapshots, fill, same_files
from support import Checks, Owned, api_of, equal, eventually, note

BTRFS_IOC_INO_LOOKUP = 0xD0009412


def test_take_and_restore(tmp):
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        box = api.create(name="source", entrypoint=["/bin/sh", "-c", "echo booted >> /boots; exec sleep 3000"])
        eventually(lambda: box.sh("cat /boots").stdout == "booted", 10, "the entrypoint")
        fill(box)
        pid = ticking(box)
        with check("a snapshot of a running sandbox: its processes go on, its record says what it is"):
            first = snapshots.take(box.id)
            for member, value in {"sandbox_id": box.id, "status": "completed", "snapshot_type": "filesystem"}.items():
                equal(first[member], value, member)
            assert first["id"] != box.id and "snapshot_id" not in first and first["created_at"] > 1e12 and first["size_bytes"] > 5_000_000, first
            had = ticks(box, pid)
            eventually(lambda: ticks(box, pid) > had, 10, "it ticks on")
            equal(api.get(box.id)["status"], "running")
        box.sh("echo later > /data/one; rm /data/big; echo new > /data/new").ok()
        with check("restored: all files of then, owners, modes, links, deletions, and none of later; the entrypoint starts again"):
            restored = api.create(snapshot_id=first["id"], name="restored")
            assert restored.id != box.id
            same_files(restored)
            restored.sh("[ ! -e /data/new ]").ok()
            eventually(lambda: restored.sh("cat /boots").stdout == "booted\nbooted", 10, "the entrypoint ran again")
            equal(restored.sh("pgrep -f tick").stdout, "")
            equal(api.get(restored.id)["snapshot_id"], first["id"])
        with check("a restored sandbox has its own name, machine id and numbers"):
            facts = "hostname; cat /etc/hostname; head -c32 /etc/machine-id; echo; grep -c source /etc/hosts"
            mine, its = box.sh(facts).stdout.split("\n"), restored.sh(facts).stdout.split("\n")
            equal(mine[:2], ["source", "source"])
            equal(its[:2], ["restored", "restored"])
            assert len(mine[2]) == len(its[2]) == 32 and mine[2] != its[2], (mine, its)
            equal(its[3], "0", "the old name in /etc/hosts")
            seen = {box.sh("head -c16 /dev/urandom | od -An -tx1").stdout, restored.sh("head -c16 /dev/urandom | od -An -tx1").stdout}
            equal(len(seen), 2, "random bytes")
        with check("writes of one are nobody else's"):
            restored.sh("echo changed > /data/soft").ok()
            equal(box.sh("cat /data/one").stdout, "later")
            same_files(api.create(snapshot_id=first["id"]))
        with check("a snapshot outlives its sandbox, and a restart of the engine"):
            box.delete().expect(204)
            gb.down()
            gb.start()
            api = api_of(gb)
            snapshots = Snapshots(api)
            equal([s["id"] for s in snapshots.list()], [first["id"]])
            again = api.create(snapshot_id=first["id"])
            same_files(again)
            restored = api.box("restored")
        with check("a snapshot of a restored sandbox knows its parent; deleting the parent joins the line"):
            second = snapshots.take(restored.id, {"snapshot_type": "filesystem"})
            third = snapshots.take("restored")
            equal((second["parent_id"], third["parent_id"]), (first["id"], second["id"]))
            snapshots.delete(second["id"]).expect(204)
            equal(snapshots.get(third["id"])["parent_id"], first["id"])
            snapshots.delete(second["id"]).refused(404, "SNAPSHOT_NOT_FOUND")
            same_size = api.create(snapshot_id=third["id"])
            equal(same_size.sh("cat /data/one").stdout, "changed")
        with check("deleted while eight are made of it: each is made whole, or says that the snapshot is gone"):
            for _ in range(3):
                doomed = snapshots.take(restored.id)["id"]
                with concurrent.futures.ThreadPoolExecutor(9) as pool:
                    making = [pool.submit(api.call, "POST", "/sandboxes", {"snapshot_id": doomed}) for _ in range(8)]
                    pool.submit(snapshots.delete, doomed).result().expect(204)
                for answer in (made.result() for made in making):
                    if answer.status == 201:
                        whole = api.box(answer.json["sandbox_id"])
                        equal(whole.sh("cat /data/one").stdout, "changed")
                        whole.delete().expect(204)
                    else:
                        answer.refused(404, "SNAPSHOT_NOT_FOUND")
        with check("a suspended one: the official call is refused, ours keeps what was written last and does not wake it"):
            restored.sh("echo last > /data/last").ok()
            running = ticking(restored)
            suspend(api, gb, restored.id)
            api.call("POST", f"/sandboxes/{restored.id}/snapshot").refused(400, "WRONG_STATE")
            asleep = json.loads(gb.cli("snapshot", "create", "restored").stdout)
            assert asleep["size_bytes"] > 0, asleep
            equal((asleep["status"], state(api, restored.id)), ("completed", ("suspended", "ram")))
            assert frozen(gb, restored.id), "it runs"
            equal(api.create(snapshot_id=asleep["id"]).read("/data/last"), b"last\n")
            had = ticks(restored, running)  # which wakes it
            eventually(lambda: ticks(restored, running) > had, 10, "it ticks on")
            equal(api.get(restored.id)["snapshot_id"], asleep["id"])
        with check("what cannot be is refused by name"):
            api.call("POST", f"/sandboxes/{restored.id}/snapshot", {"snapshot_type": "memory"}).refused(501, "NOT_IMPLEMENTED")
            api.call("POST", f"/sandboxes/{restored.id}/snapshot", {"snapshot_type": "tape"}).refused(400)
            api.call("POST", "/sandboxes/nobody/snapshot").refused(404, "SANDBOX_NOT_FOUND")
            for unknown in ("a" * 21, "..", "../boxes/" + restored.id, "x"):
                assert api.call("POST", "/sandboxes", {"snapshot_id": unknown}).status == 404, unknown
            api.call("GET", "/snapshots/..%2fboxes").refused(404)
            api.call("POST", "/sandboxes", {"snapshot_id": first["id"], "image": "another"}).refused(400)
            gone = api.create()
            gone.delete()
            api.call("POST", f"/sandboxes/{gone.id}/snapshot").refused(400, "SANDBOX_TERMINATED")
        with check("changed behind the engine's back: refused, and said why"):
            path = gb.engine_path("pool", "manifests", third["id"])
            with open(path) as file:
                text = file.read()
            with open(path, "w") as file:
                file.write(text.replace(third["sandbox_id"], first["sandbox_id"]))
            api.call("POST", "/sandboxes", {"snapshot_id": third["id"]}).refused(403, "SNAPSHOT_INVALID")
            with open(path, "w") as file:
                file.write(text)
            api.create(snapshot_id=third["id"])
        with check("deleting them all leaves no file of them"):
            for snapshot in snapshots.list():
                snapshots.delete(snapshot["id"]).expect(204)
            equal(snapshots.list(), [])
            equal(os.listdir(gb.engine_path("pool", "snapshots")) + os.listdir(gb.engine_path("pool", "manifests")), [])
            same_files(again)
        check.done()


def test_hostile_files(tmp):
    """What a tenant leaves in place of the files that the engine writes leads nowhere."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        canary = os.path.join(tmp, "canary")
        with open(canary, "w") as file:
            file.write("untouched")
        tricks = {
            "links to a file of the host": f"ln -sf {canary} /etc/hostname; ln -sf {canary} /etc/machine-id; ln -sf {canary} /etc/hosts",
            "a link in place of /etc": f"mv /etc /was; ln -s {tmp} /etc",
            "no /etc at all": "rm -rf /etc",
            "directories in their places": "rm -f /etc/hostname /etc/machine-id; mkdir -p /etc/hostname/a /etc/machine-id/b",
            "fifos": "rm -f /etc/hostname /etc/hosts; mkfifo /etc/hostname /etc/hosts",
        }
        for trick, script in tricks.items():
            with check(trick):
                box = api.create()
                box.sh(script)
                snapshot = snapshots.take(box.id)
                restored = api.create(snapshot_id=snapshot["id"], name="restored")
                restored.sh("echo works").ok()
                snapshots.rollback(restored.id, snapshot["id"]).expect(200)
                restored.sh("echo works").ok()
                restored.delete().expect(204)
                with open(canary) as file:
                    equal(file.read(), "untouched")
        check.done()


def test_copies(tmp):
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        box = api.create(name="source", timeout_secs=700, exposed_ports=[8080])
        fill(box)
        with check("sixteen at once, each with all files and an identity of its own"):
            begun = time.monotonic()
            answer = snapshots.copy(box.id, 16)
            note(f"16 copies: {(time.monotonic() - begun) * 1000:.0f} ms")
            equal(answer["source_sandbox_id"], box.id)
            copies = [api.box(record["sandbox_id"]) for record in answer["sandboxes"]]
            equal(len({copy.id for copy in copies}), 16)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                names = list(pool.map(lambda copy: (same_files(copy), copy.sh("hostname; cat /etc/machine-id").stdout)[1], copies))
            equal(len(set(names)), 16, "names and machine ids")
            record = api.get(copies[3].id)
            equal((record["status"], record["timeout_secs"], record["exposed_ports"], record.get("name")), ("running", 700, [8080], None))
        with check("no snapshot is left of it"):
            equal(snapshots.list(), [])
            equal(os.listdir(gb.engine_path("pool", "snapshots")), [])
        with check("one without a number; a suspended one too; nonsense is refused"):
            equal(len(snapshots.copy("source")["sandboxes"]), 1)
            suspend(api, gb, box.id)
            equal(len(snapshots.copy("source", 2)["sandboxes"]), 2)
            equal(api.get(box.id)["status"], "suspended")
            for times in ("0", "-1", "129", "many", "1e3"):
                api.call("POST", f"/sandboxes/{box.id}/copy?times={times}").refused(400)
        with check("those that do not fit are told of one by one"):
            gb.down()
            gb.environment = {"GLOVEBOX_ENGINE_MAX_SANDBOXES": "23"}
            gb.start()
            api = api_of(gb)
            snapshots = Snapshots(api)
            room = 23 - len(api.alive())
            members = snapshots.copy("source", room + 2)["sandboxes"]
            equal(sorted(m["status"] for m in members), ["failed"] * 2 + ["running"] * room)
            assert all("limit" in m["error_details"] for m in members if m["status"] == "failed"), members
            eventually(lambda: not without_processes(gb), 20, "the files of those that did not fit to be gone")
        with check("no files are copied for those that cannot fit"):
            before = tree_id(gb, snapshots.take(copies[0].id)["id"])
            equal({m["status"] for m in snapshots.copy("source", 128)["sandboxes"]}, {"failed"})
            made = tree_id(gb, snapshots.take(copies[0].id)["id"]) - before
            assert made < 100, f"{made} subvolumes for nothing"
        check.done()


def tree_id(gb, snapshot):
    """The number of its subvolume: btrfs counts them up."""
    asked = bytearray(struct.pack("QQ4080x", 0, 256))
    fd = os.open(gb.engine_path("pool", "snapshots", snapshot), os.O_RDONLY)
    try:
        fcntl.ioctl(fd, BTRFS_IOC_INO_LOOKUP, asked)
    finally:
        os.close(fd)
    return struct.unpack_from("Q", asked)[0]


def without_processes(gb):
    """Boxes that have files and no control group."""
    boxes = {os.path.basename(group) for group in Owned(gb.state, gb.instance).cgroups()}
    return set(os.listdir(gb.engine_path("pool", "boxes"))) - boxes


def test_rollback(tmp):
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        box = api.create(name="worker", entrypoint=["/bin/sh", "-c", "echo boot >> /boots; exec sleep 3000"])
        eventually(lambda: box.sh("cat /boots").stdout == "boot", 10, "the entrypoint")
        fill(box)
        machine = box.sh("cat /etc/machine-id").stdout
        before = snapshots.take(box.id)
        with check("the same sandbox with the files of then, its processes ended and its entrypoint started again"):
            box.sh("rm -rf /data; echo bad > /etc/protocols").ok()
            job = box.start("sleep", "3000")
            record = snapshots.rollback("worker", before["id"]).expect(200).json
            equal((record["id"], record["name"], record["status"], record["snapshot_id"]), (box.id, "worker", "running", before["id"]))
            same_files(box)
            eventually(lambda: box.sh("cat /boots").stdout == "boot\nboot", 10, "the entrypoint")
            equal(box.sh("pgrep -x sleep | wc -l").stdout, "1")
            assert box.call("GET", f"/processes/{job['pid']}").status == 404 or box.process(job["pid"])["command"] != "sleep"
            equal(box.sh("hostname; cat /etc/hostname /etc/machine-id").stdout.split("\n"), ["worker", "worker", machine])
        with check("again and again, also from asleep; the limits stay"):
            for _ in range(3):
                box.sh("rm -rf /data").ok()
                snapshots.rollback("worker", before["id"]).expect(200)
                same_files(box)
            suspend(api, gb, box.id)
            snapshots.rollback("worker", before["id"]).expect(200)
            equal(api.get("worker")["status"], "running")
            same_files(box)
        with check("operations that come meanwhile wait or fail, none hangs and none sees half of it"):
            stop, seen = threading.Event(), []

            def look():
                while not stop.is_set():
                    try:
                        seen.append(box.sh("cat /data/one || echo missing").stdout)
                    except (AssertionError, OSError) as refused:
                        seen.append(type(refused).__name__)

            looker = threading.Thread(target=look)
            looker.start()
            for _ in range(3):
                snapshots.rollback("worker", before["id"]).expect(200)
            stop.set()
            looker.join(60)
            assert not looker.is_alive() and "one" in seen and "missing" not in seen, seen
        with check("a tree: forward from an older one"):
            box.sh("echo branch > /data/one").ok()
            branch = snapshots.take(box.id)
            equal(branch["parent_id"], before["id"])
        with check("copied and rolled back while it is cold, after a restart of the machine"):
            api = restart_machine(gb)
            snapshots = Snapshots(api)
            equal(state(api, box.id), ("suspended", "cold"))
            (copy,) = snapshots.copy("worker")["sandboxes"]
            equal(api.box(copy["sandbox_id"]).sh("cat /data/one").stdout, "branch")
            equal(state(api, box.id), ("suspended", "cold"))
            snapshots.rollback("worker", branch["id"]).expect(200)
            box = api.box("worker")
            equal(box.sh("cat /data/one; cat /etc/machine-id").stdout.split("\n"), ["branch", machine])
        with check("what cannot be is refused, and nothing happens"):
            snapshots.rollback("worker", "a" * 21).refused(404, "SNAPSHOT_NOT_FOUND")
            snapshots.rollback("nobody", before["id"]).refused(404, "SANDBOX_NOT_FOUND")
            api.call("POST", "/sandboxes/worker/rollback", {}).refused(400)
            equal(box.sh("cat /data/one").stdout, "branch")
        check.done()


def test_disk_limit(tmp):
    """The disk limit of a sandbox holds: for one file, for many, and again in a copy; its neighbours are not touched."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        box, other = api.create(resources={"cpus": 1, "memory_mb": 512, "disk_mb": 64}), api.create()
        with check("one file"):
            done = box.sh("head -c 200M /dev/zero > /big; echo $?; stat -c %s /big")
            assert "quota" in done.stderr.lower() or "file size" in done.stderr.lower() or done.stdout.split()[0] != "0", done
            assert int(done.stdout.split()[-1]) <= 64 << 20, done
        with check("many files, in all places a tenant can write to"):
            done = box.sh("rm -f /big; sync; for d in /a /tmp /root /home /var/tmp /workspace; do mkdir -p $d; for i in $(seq 20); do head -c 1M /dev/urandom > $d/$i || exit 9; done; done")
            equal(done.exit_code, 9, repr(done))
            used = int(box.sh("du -sm --total /a /tmp /root /home /var/tmp /workspace 2>/dev/null | tail -1").stdout.split()[0])
            assert used <= 66, used
        with check("a neighbour writes on; after deleting something so does the sandbox"):
            other.sh("head -c 100M /dev/zero > /big").ok()
            box.sh("rm -rf /a /tmp/* /home/*; sync").ok()
            eventually(lambda: box.sh("echo x > /again").exit_code == 0, 20, "room again")
        with check("the limit holds in a sandbox that is made of a snapshot"):
            snapshot = Snapshots(api).take(box.id)
            copy = api.create(snapshot_id=snapshot["id"], resources={"cpus": 1, "memory_mb": 512, "disk_mb": 64})
            done = copy.sh("head -c 200M /dev/zero > /big2; stat -c %s /big2")
            assert int(done.stdout.split()[-1]) <= 64 << 20, done
        check.done()


run(test_take_and_restore, test_hostile_files, test_copies, test_rollback, test_disk_limit)
