"""A disk that fills up in the middle of an import, a build or a snapshot's way in: it is refused and says so, nothing of it is left, and what was there lives on.
labels: privileged slow timeout=300
"""
import contextlib
import http.client
import json
import os

from harness import Glovebox, run
from image_files import Tar, root_tar
from snapshots import Snapshots
from support import Checks, api_of, equal, eventually
from test_image_build import build
from test_images import gb_box, import_image, roots
from test_pool import MB, disk
from test_snapshot_files import FILE, file_of, tar

RESERVE, ABOVE, LARGE = 500, 120, 250


def test_full(tmp):
    with disk(tmp, "ext4", 2400) as place, Glovebox(place, environment={"GLOVEBOX_ENGINE_RESERVE_MB": str(RESERVE)}) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        import_image(api, root_tar(), "shell:1").expect(201)
        there = api.create(name="there")
        there.sh("echo kept > /kept").ok()
        taken = snapshots.take(there.id)["id"]
        flooder = api.create(name="flooder", resources={"disk_mb": 20480})

        def free():
            info = os.statvfs(gb.engine_path("pool"))
            return info.f_bavail * info.f_frsize // MB

        def held():
            return {name: len(os.listdir(gb.engine_path("pool", name))) for name in ("images", "snapshots", "manifests")}

        flooder.sh(f"head -c {max(0, free() - RESERVE - ABOVE)}M /dev/zero > /flood; sync /flood", wait=200)
        eventually(lambda: RESERVE + 20 < free() < RESERVE + LARGE - 20, 30, f"little room, and enough to begin: {free()} MB")
        before, images, boxes = held(), roots(gb), sorted(b["id"] for b in api.alive())
        large = os.urandom(MB) * LARGE

        def as_before():
            eventually(lambda: held() == before, 60, f"as before: {before}")
            equal(roots(gb), images)
            eventually(lambda: sorted(b["id"] for b in api.alive()) == boxes, 60, "no sandbox more")
            equal(there.sh("cat /kept").stdout, "kept")
            eventually(lambda: free() > RESERVE + 20, 60, "its room is free again")

        def refused(path, body):
            """Nobody reads a body to its end that is not wanted: the answer comes before that."""
            connection = http.client.HTTPConnection(*api.address, timeout=120)
            with contextlib.closing(connection):
                try:
                    connection.request("POST", path, body, headers=api.headers(None))
                except OSError:
                    pass
                answer = connection.getresponse()
                said = json.loads(answer.read())
            equal((answer.status, said["code"]), (429, "DISK_FULL"), str(said))

        with check("an archive that is larger than the room"):
            archive = Tar().add("big", large).done()
            refused("/images?name=big:1", archive)
            assert "big:1" not in [i["name"] for i in api.call("GET", "/images").json["images"]]
            as_before()
        with check("the command line says why"):
            with open(os.path.join(tmp, "big.tar"), "wb") as file:
                file.write(archive)
            done = gb.cli("image", "import", file.name, "--name=big:1")
            assert done.returncode == 1 and "reserve" in done.stderr, done.stderr
            as_before()
        with check("files for a build"):
            refused("/images/contexts", archive)
            as_before()
        with check("a snapshot that comes in"):
            refused("/snapshots/import", file_of(tar(("big", FILE, {"content": large}))))
            as_before()
        with check("a step of a build that writes more than there is: its own program is told, and the build fails"):
            lines, made, error = build(api, "FROM shell:1\nRUN head -c 3000M /dev/zero > /big\n", name="b:1")
            assert not made and error and any("space" in line.lower() for line in lines), (lines[-3:], error)
            as_before()
        with check("with not a byte left what is there can be ended, and that gives the room back"):
            done = flooder.sh("head -c 3000M /dev/zero > /more; echo $?", wait=200)
            assert done.stdout != "0", done
            for path in ("/sandboxes", "/sandboxes/there/snapshot", "/sandboxes/there/copy"):
                api.call("POST", path, {}).refused(429, "DISK_FULL")
            equal(api.get("there")["status"], "running")
            api.delete("flooder").expect(204)
            again = eventually(lambda: (r := api.call("POST", "/sandboxes", {"snapshot_id": taken})).status == 201 and r, 60, "room")
            equal(gb_box(gb, again.json["sandbox_id"]).sh("cat /kept").ok().stdout, "kept\n")
            import_image(api, Tar().add("big", large).done(), "big:1").expect(201)
        check.done()


if __name__ == "__main__":
    run(test_full)
