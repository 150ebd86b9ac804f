"""/workspace and /tmp lie beside the overlay where the image has nothing in them, and all else is as if they did not.
labels: privileged timeout=240
"""
import os
import stat

from harness import Glovebox, run
from image_files import Tar, root_tar, shell_files
from life import restart_machine, suspend
from snapshots import Snapshots
from support import Checks, api_of, equal
from test_image_build import build
from test_images import import_image

BOTH = "/tmp btrfs\n/workspace btrfs"
FILL = """set -e
    mkdir -p /workspace/deep/er; echo one > /workspace/deep/one; ln /workspace/deep/one /workspace/hard; ln -s deep/one /workspace/soft
    chown -R user /workspace/deep; chmod 700 /workspace/deep; echo two > /tmp/two; setfattr -n user.k -v v /tmp/two 2>/dev/null || true"""
SAME = """set -e
    [ "$(cat /workspace/hard /workspace/soft /tmp/two)" = "$(printf 'one\\none\\ntwo')" ]; [ "$(stat -c %h /workspace/hard)" = 2 ]
    [ "$(stat -c '%U %a' /workspace/deep)" = 'user 700' ]; [ -d /workspace/deep/er ]"""


def mounted(box):
    """Those of the two that are mounts, with what they are on. (A shell is enough for it.)"""
    script = "while read -r _ _ _ _ at rest; do case $at in /tmp|/workspace) k=${rest#*- }; echo \"$at ${k%% *}\";; esac; done < /proc/self/mountinfo"
    return "\n".join(sorted(box.sh(script, working_dir="/").ok().stdout.split("\n")))


def test_as_before(tmp):
    """What a box sees, and what keeps, copies and brings back its files."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        snapshots = Snapshots(api)
        box = api.create(name="source")
        with check("both are the pool's own, with the owner and mode of the image's"):
            equal(mounted(box), BOTH)
            equal(box.sh("stat -c '%u %g %a' /tmp /workspace; ls -A /tmp /workspace").stdout, "0 0 1777\n0 0 777\n/tmp:\n\n/workspace:")
            box.sh("echo x > /tmp/by-user && echo y > /workspace/by-user", user="user").ok()
        with check("no link between them and the rest, and mv moves whatever it is"):
            box.sh(FILL).ok()
            assert "ross-device" in box.sh("ln /tmp/two /root/two").stderr
            box.sh("""set -e
                head -c 20000000 /dev/urandom > /root/big; sum=$(sha256sum < /root/big)
                mv /root/big /workspace/big; mv /workspace/big /tmp/big; mv /tmp/big /home/big; [ "$(sha256sum < /home/big)" = "$sum" ]
                cp -a /workspace/deep /root/tree; mv /root/tree /tmp/tree; [ "$(cat /tmp/tree/one)" = one ]; rm -r /tmp/tree /home/big
                mv /workspace/deep/er /workspace/er; rmdir /workspace/er; mkdir /workspace/deep/er""").ok()
        with check("programs that like to share bytes copy them: cp, install, Python, git"):
            box.sh('''set -e; cd /workspace; mkdir copies; head -c 3000000 /dev/urandom > copies/of; cp copies/of copies/cp; cp --sparse=always copies/of /tmp/cp
                install -m 600 copies/of copies/install; mv /tmp/cp copies/mv; cp -a copies/mv /tmp/mv; mv copies/mv /tmp/mv
                python3 -c 'import shutil; [shutil.copy(a, b) for a, b in (("copies/of", "copies/py"), ("/tmp/mv", "copies/back"))]; shutil.copytree("copies", "/tmp/tree")'
                for one in copies/* /tmp/tree/*; do cmp copies/of $one; done
                git init -q /tmp/git; cd /tmp/git; cp /workspace/copies/of .; git add of; git -c user.name=a -c user.email=a@b commit -qm one
                git clone -q . /workspace/copies/git; git clone -q --local . /tmp/git2; git clone -q --local --no-hardlinks . /workspace/copies/git3
                cmp of /workspace/copies/git/of; cmp of /tmp/git2/of; cmp of /workspace/copies/git3/of
                rm -rf /workspace/copies /tmp/tree /tmp/mv /tmp/git /tmp/git2''').ok()
        with check("root inside can neither move, remove, nor unmount them, and makes no devices there"):
            box.sh("mv /workspace /elsewhere && exit 1; rmdir /tmp && exit 1; umount /workspace && exit 1; mount -o remount,suid /tmp && exit 1; "
                   "mknod /tmp/null c 1 3 && exit 1; cp /bin/true /tmp/t && chmod 6755 /tmp/t; exit 0").ok()
            equal(mounted(box), BOTH)
            equal(box.sh("cp /usr/bin/id /tmp/id; chmod 6755 /tmp/id; chown root /tmp/id; su user -s /bin/sh -c '/tmp/id -u'; rm /tmp/id /tmp/t").stdout, "1000")
        with check("what an overlay calls whiteouts harms nobody: snapshots, files of them and removal go on"):
            box.sh("mkdir /workspace/w /root/w; echo kept > /workspace/w/kept; for d in workspace root; do mknod /$d/w/n c 0 0; done; ls /workspace/w /root/w; "
                   "cat /workspace/w/n && exit 1; exit 0").ok()
            back = snapshots.bring(snapshots.export(snapshots.take(box.id)["id"])).expect(201).json["id"]
            equal(api.create(snapshot_id=back).sh("cat /workspace/w/kept; rm -r /workspace/w && [ ! -e /workspace/w ] && echo gone").stdout, "kept\ngone")
            box.sh("rm -r /workspace/w && mkdir /workspace/w && rmdir /workspace/w").ok()
        with check("files, trees and tools"):
            box.write("/workspace/put", b"put")
            equal(box.read("/workspace/put"), b"put")
            box.tool("write", file_path="/workspace/made/by/tool", content="first")
            box.tool("edit", file_path="/workspace/made/by/tool", old_string="first", new_string="second")
            equal(box.read("/workspace/made/by/tool"), b"second")
        with check("snapshot, restore, copies and rollback"):
            taken = snapshots.take(box.id)["id"]
            restored = api.create(snapshot_id=taken)
            restored.sh(SAME).ok()
            equal(mounted(restored), BOTH)
            copied = snapshots.copy(box.id, 2)["sandboxes"]
            for one in copied:
                api.box(one["sandbox_id"]).sh(SAME + "; echo mine > /workspace/hard").ok()
            box.sh(SAME).ok()
            box.sh("rm -r /workspace/* /tmp/two; echo later > /tmp/later").ok()
            snapshots.rollback(box.id, taken).expect(200)
            box = api.box("source")
            box.sh(SAME + "; [ ! -e /tmp/later ]").ok()
            equal(mounted(box), BOTH)
        with check("an export brought back"):
            back = snapshots.bring(snapshots.export(taken)).expect(201).json["id"]
            there = api.create(snapshot_id=back)
            there.sh(SAME).ok()
            equal(mounted(there), BOTH)
        with check("a crash of the engine, sleep, and a restart of the machine"):
            gb.kill_engine()
            api = api_of(gb)
            box = api.box("source")
            box.sh(SAME).ok()
            suspend(api, gb, box.id)
            box.sh(SAME).ok()
            api = restart_machine(gb)
            box = api.box("source")
            box.sh(SAME).ok()
            equal(mounted(box), BOTH)
        with check("its limit on the disk counts what is written there"):
            small = api.create(resources={"disk_mb": 64})
            ran = small.sh("head -c 200000000 /dev/zero > /workspace/much; stat -c %s /workspace/much")
            assert int(ran.stdout) < 80_000_000 and "quota" in ran.stderr.lower(), ran
        check.done()


def test_made_before(tmp):
    """Uppers of boxes that had no such mounts, or were made by somebody hostile, and disks that are full."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        names = ("taken-up", "opaque", "link", "gone", "file", "none", "full")
        for name in names:
            api.create(name=name, resources={"disk_mb": 64})
        api.box("full").sh("head -c 200000000 /dev/zero > /much; sync; echo x > /more && exit 1; exit 0").ok()
        api = restart_machine(gb)

        def upper(name, *path):
            return gb.engine_path("pool", "boxes", api.get(name)["id"], "u", *path)
        for name in names:  # nobody runs in them
            os.rmdir(upper(name, "workspace"))
            os.rmdir(upper(name, "tmp"))
        for name in ("taken-up", "opaque"):
            os.mkdir(upper(name, "workspace"))
            os.chmod(upper(name, "workspace"), 0o750)
            with open(upper(name, "workspace", "file"), "w") as file:
                file.write("old\n")
        os.setxattr(upper("opaque", "workspace"), "trusted.overlay.opaque", b"y")
        os.symlink("/etc", upper("link", "workspace"))
        os.mknod(upper("gone", "workspace"), stat.S_IFCHR, os.makedev(0, 0))
        with open(upper("file", "workspace"), "w") as file:
            file.write("a file")
        for name in ("taken-up", "opaque"):
            with check(f"a directory of an older box ({name}) is mounted as it is"):
                box = api.box(name)
                equal(mounted(box), BOTH)
                equal(box.sh("cat /workspace/file; stat -c %a /workspace /tmp; ls -A /tmp; echo new > /workspace/new; cat /workspace/new").stdout,
                      "old\n750\n1777\nnew")
        for name, seen in (("link", "symbolic link"), ("file", "regular file")):
            with check(f"another thing in its place ({name}) is left to the overlay"):
                box = api.box(name)
                equal(mounted(box), "/tmp btrfs")
                equal(box.sh("stat -c %F /workspace; ls -d /etc/passwd", working_dir="/").stdout, seen + "\n/etc/passwd")
        with check("what was removed stays away"):
            box = api.box("gone")
            equal(box.sh("[ -e /workspace ] || echo away; mkdir /workspace && echo x > /workspace/x && cat /workspace/x", working_dir="/").stdout, "away\nx")
            equal(mounted(api.box("gone")), "/tmp btrfs")
        with check("nothing there yet: made"):
            equal(mounted(api.box("none")), BOTH)
        with check("a box that has filled its disk starts all the same, and has no more room than before"):
            full = api.box("full")
            equal(mounted(full), BOTH)
            full.sh("head -c 1000000 /dev/zero > /tmp/more && exit 1; exit 0").ok()
            equal(full.sh("rm /much; sync; head -c 1000000 /dev/zero > /tmp/more; stat -c %s /tmp/more").stdout, "1000000")
        check.done()


def test_images(tmp):
    """Images with something in them stay with the overlay; builds put files where they are found."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        import_image(api, root_tar(), "bare:1").expect(201)
        import_image(api, root_tar({"workspace/given": "by the image\n"}), "given:1").expect(201)
        linked = Tar().add_files(shell_files()).add("workspace", link="srv").add("srv/").add("srv/in", "there\n").add("tmp/", mode=0o1770, uid=1234, gid=77)
        import_image(api, linked.done(), "linked:1").expect(201)
        with check("an image that has nothing in either"):
            equal(mounted(api.create(image="bare:1")), BOTH)
        with check("one that has files in /workspace"):
            box = api.create(image="given:1")
            equal(mounted(box), "/tmp btrfs")
            equal(box.sh("cat /workspace/given; rm /workspace/given; ls /workspace; echo x > /workspace/x; ls /workspace").ok().stdout, "by the image\nx")
        with check("one that has a link, and another owner and mode"):
            box = api.create(image="linked:1")
            equal(mounted(box), "/tmp btrfs")
            equal(box.sh("cat /workspace/in; stat -c '%u %g %a' /tmp").stdout, "there\n1234 77 1770")
        with check("RUN and COPY into both, over an image and over the machine's own"):
            for base, there in (("bare:1", ""), ("host", BOTH)):
                lines, image, error = build(api, f"FROM {base}\nCOPY a.txt /workspace/\nRUN echo ran > /workspace/ran && echo t > /tmp/t && rm /workspace/a.txt\n"
                                            "RUN cat /workspace/ran && echo again >> /workspace/ran\nCOPY a.txt /tmp/a\n",
                                            name="built:" + base.split(":")[0], files=Tar().add("a.txt", "A\n").done())
                assert image, (error, lines)
                for _ in range(2):
                    box = api.create(image="built:" + base.split(":")[0])
                    equal(box.sh("cat /workspace/ran /tmp/t /tmp/a; ls -A /workspace /tmp").stdout, "ran\nagain\nt\nA\n/tmp:\na\nt\n\n/workspace:\nran")
                    equal(mounted(box), there)
                    snapshots = Snapshots(api)
                    again = api.create(snapshot_id=snapshots.take(box.id)["id"])
                    equal(again.sh("cat /workspace/ran; rm /workspace/ran; ls -A /workspace").stdout, "ran\nagain")
                    box.delete()
        check.done()


def test_volumes(tmp):
    """A volume may be where they are, and below; nobody's links lead it into another mount."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        volume = api.call("POST", "/volumes", {"name": "data", "size_mb": 64}).expect(201).json["id"]

        def at(place):
            return [{"file_system_id": volume, "mount_path": place}]
        box = api.create(name="live")

        def attach(place):
            return api.call("POST", "/sandboxes/live/file_systems", at(place)[0])

        def detach(place):
            return api.call("DELETE", "/sandboxes/live/file_systems", {"mount_path": place})

        with check("in place of one, for a box that is made with it"):
            own = api.create(file_systems=at("/workspace"))
            own.sh("echo kept > /workspace/note; echo own > /tmp/own").ok()
            own.delete().expect()
            equal(api.create(file_systems=at("/workspace")).sh("cat /workspace/note; ls -A /tmp").stdout, "kept")
        with check("below one, for a box that is made with it"):
            equal(api.create(file_systems=at("/workspace/data")).sh("cat /workspace/data/note; ls /workspace").stdout, "kept\ndata")
            equal(api.create(file_systems=at("/tmp/a/b")).sh("cat /tmp/a/b/note").stdout, "kept")
        with check("in and below a box that lives, and out again"):
            box.sh("echo hidden > /workspace/hidden; mkdir -p /workspace/have; echo below > /workspace/have/x").ok()
            for place in ("/workspace", "/workspace/data", "/workspace/have", "/tmp", "/tmp/x/y", "/workspace/new/er"):
                attach(place).expect(200)
                equal(box.sh(f"cat {place}/note").stdout, "kept", place)
                if place == "/workspace/data":
                    gb.kill_engine()
                    api = api_of(gb)
                    box = api.box("live")
                detach(place).expect(200)
                equal(box.sh(f"[ -e {place}/note ] || cat /workspace/hidden /workspace/have/x").stdout, "hidden\nbelow", place)
            equal(mounted(box), BOTH)
        with check("links between the box's own files are followed, those into other mounts are not"):
            box.sh("mkdir -p /workspace/there /root/there && ln -s /workspace/there /into && ln -s /root/there /workspace/out && ln -s ../../.. /tmp/up").ok()
            for place, lands in (("/into", "/workspace/there"), ("/workspace/out", "/root/there"), ("/tmp/up/workspace/there", "/workspace/there")):
                attach(place).expect(200)
                equal(box.sh(f"cat {lands}/note").stdout, "kept", place)
                detach(place).expect(200)
                box.sh(f"[ ! -e {lands}/note ]").ok()
            box.sh("cd /workspace && ln -s /proc/self p && ln -s /dev/shm s && ln -s /usr/lib u && ln -s /proc/self/root r && ln -s /proc/1/cwd c && "
                   "ln -s /dev/glovebox g && ln -s / top").ok()
            for place in ("p/x", "s", "s/x", "u", "u/x", "r/x", "c/x", "g", "g/x", "top/proc/x", "top/dev/shm/x"):
                answer = attach("/workspace/" + place)
                assert answer.status >= 400, (place, answer)
            equal(box.sh("ls /dev/shm; ls /dev/glovebox").stdout, "")
        with check("not into a volume that stands there"):
            other = api.call("POST", "/volumes", {"name": "other", "size_mb": 64}).expect(201).json["id"]
            attach("/workspace").expect(200)
            attach("/workspace/x").refused(400)
            box.sh("ln -sfn /workspace /root/l; ln -sfn /workspace/note /root/n").ok()
            reply = api.call("POST", "/sandboxes/live/file_systems", {"file_system_id": other, "mount_path": "/root/l/x"})
            reply.refused(400)
            equal(box.sh("ls /workspace").stdout, "note")
            detach("/workspace").expect(200)
        check.done()


if __name__ == "__main__":
    run(test_as_before, test_made_before, test_images, test_volumes)
