"""Volumes outlive boxes, are shared by those that have them, keep to their mode, and lead nowhere.
labels: privileged timeout=240
"""
from harness import Glovebox, run
from image_files import Tar, shell_files
from support import Checks, api_of, equal, eventually
from test_images import gb_box, import_image


def test_volumes(tmp):
    """Create, attach, share, read only, limits, refusals, removal."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        volume = api.call("POST", "/volumes", {"name": "data", "size_mb": 64}).expect(201).json
        mount = [{"file_system_id": volume["id"], "mount_path": "/mnt/data"}]
        with check("what one box writes the next one has"):
            first = api.create(file_systems=mount)
            equal(api.get(first.id)["file_systems"], [{**mount[0], "read_only": False}])
            gb_box(gb, first.id).sh("echo kept > /mnt/data/note; echo > /mnt/data/of-user; chown user /mnt/data/of-user; ln -s /etc/passwd /mnt/data/link").ok()
            api.delete(first.id).expect()
            second = api.create(file_systems=[{"file_system_id": "data", "mount_path": "/somewhere/deep"}])
            equal(gb_box(gb, second.id).sh("cat /somewhere/deep/note; stat -c %U /somewhere/deep/of-user").ok().stdout, "kept\nuser\n")
        with check("two boxes at once see one file system, one of them read only"):
            reader = api.create(file_systems=[{"file_system_id": "data", "mount_path": "/ro", "read_only": True}])
            gb_box(gb, second.id).sh("echo more >> /somewhere/deep/note").ok()
            box = gb_box(gb, reader.id)
            equal(box.sh("cat /ro/note").ok().stdout, "kept\nmore\n")
            ran = box.sh("echo x > /ro/new || mount -o remount,rw /ro || umount /ro")
            assert ran.exit_code != 0, ran
        with check("what is copied into it counts as if it were written: no bytes are shared with other files"):
            box = gb_box(gb, second.id)
            box.sh("head -c 20000000 /dev/urandom > /workspace/some && cp /workspace/some /somewhere/deep/ && cmp /workspace/some /somewhere/deep/some").ok()
            box.sh("rm /somewhere/deep/some; sync; head -c 100000000 /dev/zero > /workspace/much").ok()
            ran = box.sh("cp /workspace/much /somewhere/deep/much 2>&1")
            assert ran.exit_code != 0 and "quota" in ran.stdout.lower(), ran
            ran = box.sh("cp --reflink=always /workspace/some /workspace/other 2>&1")
            assert ran.exit_code != 0 and "not supported" in ran.stdout, ran
            box.sh("rm /workspace/* /somewhere/deep/much; sync").ok()
        with check("no set-id program, no device, and no more than its size"):
            box = gb_box(gb, second.id)
            ran = box.sh("cp /usr/bin/id /somewhere/deep/id; chmod 6755 /somewhere/deep/id; chown root /somewhere/deep/id")
            equal(box.run("/somewhere/deep/id", "-u", user="user").ok().stdout, "1000\n")
            ran = box.sh("mknod /somewhere/deep/dev c 1 3")
            assert ran.exit_code != 0, ran
            ran = box.sh("head -c 100000000 /dev/zero > /somewhere/deep/big; sync; stat -c %s /somewhere/deep/big")
            assert int(ran.stdout) < 80_000_000, ran
            box.sh("rm /somewhere/deep/big").ok()
        with check("one that is in use stays"):
            answer = api.call("DELETE", "/volumes/data").refused(409, "FILE_SYSTEM_IN_USE")
            assert second.id in answer.text or reader.id in answer.text, answer
            equal(sorted(api.call("GET", "/volumes/data").json["sandboxes"]), sorted([second.id, reader.id]))
        with check("it is there after a crash of the engine, in boxes and by name"):
            gb.kill_engine()
            api = api_of(gb)
            equal(gb_box(gb, reader.id).sh("head -n 1 /ro/note").ok().stdout, "kept\n")
            equal(len(api.call("GET", "/volumes/data").json["sandboxes"]), 2)
        with check("places that are none, and volumes that are none"):
            for path in ("/", "/proc", "/proc/self", "/dev/shm", "/sys/x", "/usr/lib", "relative", "/a/../../b"):
                api.call("POST", "/sandboxes", {"file_systems": [{"file_system_id": "data", "mount_path": path}]}).refused(400)
            api.call("POST", "/sandboxes", {"file_systems": [{"file_system_id": "none", "mount_path": "/x"}]}).refused(400, "FILE_SYSTEM_NOT_FOUND")
            api.call("POST", "/sandboxes", {"file_systems": [{"file_system_id": "data", "mount_path": "/x"},
                                                             {"file_system_id": "data", "mount_path": "/x/y"}]}).refused(400)
            api.call("POST", "/volumes", {"name": "data"}).refused(409, "NAME_TAKEN")
            api.call("POST", "/volumes", {"name": "../x"}).refused(400)
        with check("links of a hostile image lead a mount nowhere else"):
            tar = Tar().add_files(shell_files()).add("trap", link="/proc").add("up", link="../../../../../..")
            import_image(api, tar.done(), "traps").expect(201)
            answer = api.call("POST", "/sandboxes", {"image": "traps", "file_systems": [{"file_system_id": "data", "mount_path": "/trap/x"}]})
            assert answer.status >= 400, answer
            box = api.create(image="traps", file_systems=[{"file_system_id": "data", "mount_path": "/up/inside"}])
            equal(gb_box(gb, box.id).sh("head -n 1 /inside/note").ok().stdout, "kept\n")
            api.delete(box.id).expect()
        with check("a sandbox that lives gets volumes and loses them: busy, suspended, and after a crash of the engine"):
            live = api.create(name="live")
            attach = lambda place, **more: api.call("POST", f"/sandboxes/{live.id}/file_systems", {"file_system_id": "data", "mount_path": place, **more})
            detach = lambda place: api.call("DELETE", f"/sandboxes/{live.id}/file_systems", {"mount_path": place})
            box = gb_box(gb, live.id)
            equal(attach("/own/later").expect(200).json["file_systems"], [{"file_system_id": volume["id"], "mount_path": "/own/later", "read_only": False}])
            equal(box.sh("head -n 1 /own/later/note; echo live >> /own/later/note").ok().stdout, "kept\n")
            api.call("POST", "/sandboxes/live/suspend").expect(200, 202)
            attach("/asleep", read_only=True).expect(200)
            equal(api.get("live")["status"], "suspended")
            equal(box.sh("tail -n 1 /asleep/note; touch /asleep/x || echo read only").ok().stdout, "live\nread only\n")
            gb.kill_engine()
            api = api_of(gb)
            equal(box.sh("grep -c ' /own/later \\| /asleep ' /proc/self/mountinfo").ok().stdout, "2\n")
            for place in ("/own/later", "/own", "/own/later/x", "/proc/x", "/"):
                attach(place).refused(400)
            api.call("POST", f"/sandboxes/{live.id}/file_systems", {"file_system_id": "none", "mount_path": "/x"}).refused(400, "FILE_SYSTEM_NOT_FOUND")
            api.call("POST", "/sandboxes/nobody/file_systems", {"file_system_id": "data", "mount_path": "/x"}).refused(404)
            detach("/elsewhere").refused(404, "FILE_SYSTEM_NOT_FOUND")
        with check("what is detached is that volume, wherever the tenant moved it, and nothing else"):
            equal([fs["mount_path"] for fs in detach("/asleep").expect(200).json["file_systems"]], ["/own/later"])
            box.sh("mv /own /moved && ln -s / /own && mkdir -p /later").ok()
            equal(detach("/own/later/").expect(200).json.get("file_systems"), None)
            equal(box.sh("ls /moved/later /asleep | wc -w; cat /proc/self/comm; ls /dev/null").ok().stdout, "2\ncat\n/dev/null\n")
            assert live.id not in api.call("GET", "/volumes/data").json["sandboxes"]
            attach("/c").expect(200)
            box.sh("mkdir /b && ln -s /b /a").ok()
            attach("/a").expect(200)
            equal(box.sh("head -n 1 /b/note").ok().stdout, "kept\n")
            detach("/a").expect(200)
            equal(box.sh("head -n 1 /c/note; ls /b").ok().stdout, "kept\n")
            detach("/c").expect(200)
            equal(gb.cli("volume", "attach", "live", "data:/by/hand:ro").returncode, 0)
            equal(box.sh("head -n 1 /by/hand/note").ok().stdout, "kept\n")
            equal(gb.cli("volume", "detach", "live", "/by/hand").returncode, 0)
            equal(gb.cli("volume", "detach", "live", "/by/hand").returncode, 3)
            api.delete(live.id).expect()
        with check("the command line makes, lists and removes them"):
            equal(gb.cli("volume", "create", "cli", "--size=32M").returncode, 0)
            done = gb.cli("sandbox", "create", "with-volume", "--volume=cli:/v:ro")
            equal(done.returncode, 0, done.stderr)
            assert "cli" in gb.cli("volume", "ls").stdout
            equal(gb.cli("volume", "rm", "cli").returncode, 1)
            equal(gb.cli("sandbox", "rm", "with-volume").returncode, 0)
            equal(gb.cli("volume", "rm", "cli").returncode, 0)
        with check("removed, its files are gone"):
            api.delete_all()
            api.call("DELETE", "/volumes/data").expect(204)
            api.call("GET", "/volumes/data").refused(404)
            import os
            eventually(lambda: not os.listdir(gb.engine_path("pool", "volumes")), 10, "no volume is left")
        check.done()


if __name__ == "__main__":
    run(test_volumes)
