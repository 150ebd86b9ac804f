"""The pool: a full disk refuses what is new and breaks nothing that is there; a directory on btrfs will do; nothing is left on the machine.
labels: privileged slow timeout=300
"""
import contextlib
import os
import subprocess

from harness import Glovebox, need_program, run
from support import Checks, api_of, equal, eventually, slurp

MB = 1 << 20


@contextlib.contextmanager
def disk(tmp, kind, megabytes):
    """A file system of its own, in a file."""
    image, place = os.path.join(tmp, kind + ".img"), os.path.join(tmp, kind)
    with open(image, "wb") as file:
        file.truncate(megabytes * MB)
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([need_program(f"mkfs.{kind}"), "-q", image], **quiet)
    os.mkdir(place)
    subprocess.run(["mount", "-o", "loop", image, place], **quiet)
    os.chmod(place, 0o755)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], **quiet)
        os.unlink(image)


def loops(needle):
    """Loop devices that stand for a file below `needle`."""
    found = []
    for name in os.listdir("/sys/block"):
        backing = slurp(f"/sys/block/{name}/loop/backing_file") if os.path.exists(f"/sys/block/{name}/loop") else b""
        if needle.encode() in backing:
            found.append(name)
    return found


def test_full_disk(tmp):
    with disk(tmp, "ext4", 3000) as place:
        with Glovebox(place, environment={"GLOVEBOX_ENGINE_RESERVE_MB": "500"}) as gb:
            check, api = Checks(), api_of(gb)
            box = api.create(name="there")
            box.sh("echo kept > /kept").ok()
            snapshot = api.call("POST", "/sandboxes/there/snapshot").expect(202).json["snapshot_id"]
            with check("the pool counts on what the disk can give, but for the reserve"):
                info = os.statvfs(gb.engine_path("pool"))
                assert 1000 * MB <= info.f_blocks * info.f_frsize <= 2600 * MB, info
            with check("a tenant that fills the pool is told so before the disk below is full, and the pool lives"):
                done = box.sh("head -c 3000M /dev/zero > /flood; echo $?", wait=100)
                assert done.stdout != "0" and "space" in done.stderr.lower(), done
                info = os.statvfs(place)
                assert info.f_bavail * info.f_frsize > 300 * MB, info
                api.call("POST", "/sandboxes", {}).refused(429, "DISK_FULL")
                box.sh("rm -f /flood; sync; echo fine > /kept && cat /kept").ok()
            with check("what was deleted goes back to the disk below"):
                eventually(lambda: (i := os.statvfs(place)).f_bavail * i.f_frsize > 1500 * MB, 60, "freed blocks")
            ballast = os.path.join(place, "ballast")
            free = os.statvfs(place)
            with open(ballast, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 300 * MB)
            with check("below the reserve new sandboxes, snapshots and copies are refused, and it says what to do"):
                for path, body in (("/sandboxes", {}), ("/sandboxes", {"snapshot_id": snapshot}), ("/sandboxes/there/snapshot", None),
                                   ("/sandboxes/there/copy", None)):
                    reply = api.call("POST", path, body).refused(429, "DISK_FULL")
                    assert "reserve" in reply.json["error"] and "MB" in reply.json["error"], reply
            with check("what is there goes on: it writes to disk, and ends"):
                box.sh("head -c 20M /dev/urandom > /more; sync /more; rm /more; cat /kept").ok()
                equal(api.get("there")["status"], "running")
            os.unlink(ballast)
            with check("once there is room again all works, and nothing was lost"):
                again = eventually(lambda: (r := api.call("POST", "/sandboxes", {"snapshot_id": snapshot})).status == 201 and r, 30, "room")
                equal(api.box(again.json["sandbox_id"]).sh("cat /kept").stdout, "kept")
                equal(box.sh("cat /kept").stdout, "fine")
            check.done()
        equal(loops(gb.state), [], "loop devices")


def test_directory_on_btrfs(tmp):
    with disk(tmp, "btrfs", 2500) as place:
        with Glovebox(tmp, environment={"GLOVEBOX_ENGINE_POOL": place, "GLOVEBOX_ENGINE_RESERVE_MB": "100"}) as gb:
            check, api = Checks(), api_of(gb)
            with check("sandboxes live there, limits and snapshots work, there is no file"):
                box = api.create(resources={"cpus": 1, "memory_mb": 256, "disk_mb": 64})
                assert box.sh("head -c 100M /dev/urandom > /big").exit_code != 0
                snapshot = api.call("POST", f"/sandboxes/{box.id}/snapshot").expect(202).json["snapshot_id"]
                assert box.id in os.listdir(os.path.join(place, f"glovebox-{gb.instance}", "boxes"))
                assert not os.path.exists(os.path.join(gb.state, "engine", "pool.btrfs"))
            with check("the next engine finds them"):
                gb.kill_engine()
                equal(api_of(gb).box(box.id).sh("echo here").stdout, "here")
                api_of(gb).create(snapshot_id=snapshot)
            with check("doctor tells where the pool is and how much is free"):
                told = gb.cli("doctor", "--text", environment={"GLOVEBOX_ENGINE_POOL": place}).stdout
                line = next(line for line in told.splitlines() if line.split()[1:2] == ["pool"])
                assert place in line and "free" in line, line
            check.done()


def test_nothing_shows_outside(tmp):
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        box = api.create()
        with check("the machine's own mounts do not have the pool; its device lives as long as it is used"):
            with open("/proc/self/mountinfo") as file:
                equal([line for line in file if gb.state in line], [])
            equal(len(loops(gb.state)), 1)
            gb.down()
            equal(len(loops(gb.state)), 1, "a box still uses it")
            gb.start()
            equal(len(loops(gb.state)), 1)
            equal(api_of(gb).box(box.id).sh("echo here").stdout, "here")
        gb.down("--all")
        with check("after `down --all` it is gone, and the next start has the snapshots of before"):
            eventually(lambda: not loops(gb.state), 20, "the loop device is free")
            gb.start()
        check.done()


if __name__ == "__main__":
    run(test_full_disk, test_directory_on_btrfs, test_nothing_shows_outside)
