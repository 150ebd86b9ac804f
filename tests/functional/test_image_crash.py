"""kill -9 at each durable step of pulls, builds and removals of images, and of volumes: afterwards all is whole or not there, and nothing else is.
labels: privileged slow timeout=900
"""
import http.client
import os

from harness import Glovebox, run
from image_files import OciImage, Tar, root_tar
from support import Checks, api_of, equal, eventually
from test_image_build import build
from test_image_pull import Registry, pull
from test_images import gb_box, import_image, roots

KEPT = ("image.before_rename", "image.after_rename", "image.before_name", "image.after_name")
DOCKERFILE = "FROM shell:1\nRUN echo built > /built\nWORKDIR /srv/app\nCMD [\"x\"]\n"
BROKEN = (OSError, http.client.HTTPException, ValueError, AssertionError)  # what a client sees of an engine that dies


def killed(gb, point, act):
    """`act` meets the engine's end at `point`; gives the API of the next engine."""
    gb.down()
    gb.environment["GLOVEBOX_FAULT"] = f"{point}:kill"
    gb.start()
    deaths = gb.log().count('"part.died"')
    try:
        act(api_of(gb))
    except BROKEN:
        pass
    eventually(lambda: gb.log().count('"part.died"') > deaths, 30, f"it died at {point}")
    gb.down()
    gb.environment.pop("GLOVEBOX_FAULT")
    gb.start()
    api = api_of(gb)
    eventually(lambda: not [s for s in api.alive() if s.get("image", "").startswith("build:")], 60, "no sandbox of a build is left")
    eventually(lambda: not [r for r in roots(gb) if r.startswith(".new-")], 60, "no draft is left")
    return api


def names(api):
    return sorted(image["name"] for image in api.call("GET", "/images").expect(200).json["images"])


def nothing_left(gb, api):
    for name in names(api):
        api.call("DELETE", "/images/" + name.replace("/", "%2F")).expect(204)
    eventually(lambda: api.call("POST", "/images/prune", {}).expect(200) and not roots(gb), 60, "no root is left")


def test_pull(tmp):
    check = Checks()
    image = OciImage([root_tar(), Tar().add("etc/two", "2").done()])
    with Registry({"team/shell": {"1": image}}) as registry, Glovebox(tmp) as gb:
        for point in KEPT:
            with check(f"a pull killed at {point}"):
                api = killed(gb, point, lambda api: pull(api, f"{registry.host}/team/shell:1", name="p:1"))
                equal(names(api), ["p:1"] if point == "image.after_name" else [])
                done, _ = pull(api, f"{registry.host}/team/shell:1", name="p:1")
                equal(done.get("digest"), image.digest, done)
                box = gb_box(gb, api.create(image="p:1").id)
                equal(box.sh("cat /etc/two").ok().stdout, "2\n")
                box.delete()
                nothing_left(gb, api)
    check.done()


def test_build(tmp):
    check = Checks()
    with Glovebox(tmp) as gb:
        for point in ("image.build.after_run", *KEPT):
            with check(f"a build killed at {point}"):
                import_image(api_of(gb), root_tar(), "shell:1").expect(201)
                api = killed(gb, point, lambda api: build(api, DOCKERFILE, name="b:1"))
                equal(names(api), ["b:1", "shell:1"] if point == "image.after_name" else ["shell:1"])
                lines, made, error = build(api, DOCKERFILE, name="b:1")
                assert made, (error, lines)
                box = gb_box(gb, api.create(image="b:1").id)
                equal(box.sh("cat /built; pwd").ok().stdout, "built\n/srv/app\n")
                box.delete()
                nothing_left(gb, api)
    check.done()


def test_removed(tmp):
    check = Checks()
    with Glovebox(tmp) as gb:
        for point in ("image.remove.after_row", "image.drop.after_row"):
            with check(f"a removal killed at {point}: what a sandbox runs from stays"):
                api = api_of(gb)
                import_image(api, root_tar({"etc/marker": "old\n"}), "r:1").expect(201)
                kept = api.create(image="r:1", name="kept-" + point.split(".")[1])
                import_image(api, root_tar({"etc/marker": "other\n"}), "r:2").expect(201)

                def remove(api):
                    for name in ("r:1", "r:2"):
                        api.call("DELETE", "/images/" + name).expect(204)

                api = killed(gb, point, remove)
                equal(gb_box(gb, kept.id).sh("cat /etc/marker").ok().stdout, "old\n")
                api.delete_all()
                nothing_left(gb, api)
    check.done()


def test_volumes(tmp):
    check = Checks()
    with Glovebox(tmp) as gb:

        def there(api):
            rows = sorted(v["id"] for v in api.call("GET", "/volumes").expect(200).json["volumes"])
            equal(sorted(os.listdir(gb.engine_path("pool", "volumes"))), rows, "directories and rows")
            return rows

        for point in ("volume.before_row", "volume.after_row"):
            with check(f"a volume's making killed at {point}"):
                api = killed(gb, point, lambda api: api.call("POST", "/volumes", {"name": "v"}))
                equal(len(there(api)), 1 if point == "volume.after_row" else 0)
                if point == "volume.before_row":
                    api.call("POST", "/volumes", {"name": "v"}).expect(201)
                api.call("DELETE", "/volumes/v").expect(204)
                equal(there(api), [])
        mounted = lambda box: gb_box(gb, box).sh("grep -c ' /mnt/v ' /proc/self/mountinfo").stdout.strip()
        for point in ("volume.attach.after_row", "volume.attach.after_mount", "volume.detach.after_unmount", "volume.detach.after_row"):
            with check(f"a change of a running sandbox's volumes killed at {point}: what its record says is there"):
                api = api_of(gb)
                volume = api.call("POST", "/volumes", {"name": "v"}).expect(201).json["id"]
                box, place = api.create().id, {"file_system_id": volume, "mount_path": "/mnt/v"}
                if point.startswith("volume.detach"):
                    api.call("POST", f"/sandboxes/{box}/file_systems", place).expect(200)
                verb = "POST" if point.startswith("volume.attach") else "DELETE"
                api = killed(gb, point, lambda api: api.call(verb, f"/sandboxes/{box}/file_systems", place))
                noted = len(api.get(box).get("file_systems", []))
                equal(noted, 0 if point == "volume.detach.after_row" else 1)
                eventually(lambda: mounted(box) == str(noted), 20, f"{noted} mounts")
                api.delete(box).expect(204)
                api.call("DELETE", "/volumes/v").expect(204)
        with check("its removal killed after the row"):
            api_of(gb).call("POST", "/volumes", {"name": "v"}).expect(201)
            api = killed(gb, "volume.remove.after_row", lambda api: api.call("DELETE", "/volumes/v"))
            equal(there(api), [])
    check.done()


if __name__ == "__main__":
    run(test_pull, test_build, test_removed, test_volumes)
