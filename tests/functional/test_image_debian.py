"""A minimal Debian is made of packages by mmdebstrap, in sandboxes; what fails or is broken off leaves nothing.
labels: privileged timeout=200
"""
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

from harness import Glovebox, need_program, run, skip
from image_files import MACHINE, libraries, shell_files
from support import Checks, api_of, equal, eventually
from test_images import gb_box, roots

# What dpkg wants to find, beside a shell and its tools.
PROGRAMS = ("dpkg", "dpkg-deb", "dpkg-split", "dpkg-query", "tar", "diff", "start-stop-daemon", "ldconfig")


def package(folder, name, files, essential=False, postinst=None):
    """A .deb in the mirror's pool; gives its lines for the list of packages."""
    tree = os.path.join(folder, "tree")
    fields = {"Package": name, "Version": "1.0", "Architecture": MACHINE, "Maintainer": "nobody <nobody@localhost>",
              **({"Essential": "yes"} if essential else {}), "Priority": "required" if essential else "optional", "Description": "a test's"}
    os.makedirs(os.path.join(tree, "DEBIAN"))
    with open(os.path.join(tree, "DEBIAN", "control"), "w") as file:
        file.writelines(f"{key}: {value}\n" for key, value in fields.items())
    if postinst:
        with open(os.path.join(tree, "DEBIAN", "postinst"), "w") as file:
            file.write(postinst)
        os.chmod(file.name, 0o755)
    for path, (mode, data) in files.items():
        place = os.path.join(tree, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if mode == "link":
            os.symlink(data, place)
        else:
            with open(place, "wb") as file:
                file.write(data)
            os.chmod(place, mode)
    path = f"pool/{name}_1.0_{MACHINE}.deb"
    os.makedirs(os.path.join(folder, "pool"), exist_ok=True)
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, os.path.join(folder, path)], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    with open(os.path.join(folder, path), "rb") as file:
        data = file.read()
    return "".join(f"{key}: {value}\n" for key, value in {**fields, "Filename": path, "Size": len(data), "SHA256": hashlib.sha256(data).hexdigest()}.items())


def mirror(folder):
    files = {name: what for name, what in shell_files().items() if "/" in name}  # /bin and /lib are mmdebstrap's
    for program in PROGRAMS:
        if path := shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin"):
            for real in [path, *libraries(path)]:
                name = real.lstrip("/") if real.startswith("/usr") else "usr" + real
                with open(real, "rb") as file:
                    files.setdefault(name, (0o755, file.read()))
    lists = [package(folder, "tiny", files, essential=True),
             package(folder, "apt", {"usr/share/doc/apt/x": (0o644, b"x")},
                     postinst="#!/bin/sh\nset -e\necho configured > /etc/made-by-apt\ncat /proc/self/comm > /dev/null\n"),
             package(folder, "extra", {"usr/bin/extra": (0o755, b"#!/bin/sh\necho extra\n")}),
             package(folder, "broken", {"usr/share/broken": (0o644, b"x")}, postinst="#!/bin/sh\nexit 7\n")]
    listed = "\n".join(lists).encode()
    place = os.path.join(folder, "dists", "tiny")
    os.makedirs(os.path.join(place, "main", f"binary-{MACHINE}"))
    with open(os.path.join(place, "main", f"binary-{MACHINE}", "Packages"), "wb") as file:
        file.write(listed)
    with open(os.path.join(place, "Release"), "w") as file:
        file.write(f"Suite: tiny\nCodename: tiny\nArchitectures: {MACHINE}\nComponents: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
                   f"SHA256:\n {hashlib.sha256(listed).hexdigest()} {len(listed)} main/binary-{MACHINE}/Packages\n")


def test(tmp):
    need_program("dpkg-deb")
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        with check("what no suite, package or mirror can be called is refused"):
            for body in ({"suite": "x; touch /x"}, {"suite": "$(x)"}, {"packages": ["a b"]}, {"packages": ["--x"]}, {"packages": ["a'b"]},
                         {"mirror": "file:///etc"}, {"mirror": "http://x/'"}, {"name": "../x"}, {"other": 1}):
                api.call("POST", "/images/debian", body).refused(400)
        if not shutil.which("mmdebstrap", path="/usr/bin"):
            with check("without mmdebstrap it says how to get it"):
                assert "apt-get install mmdebstrap" in api.call("POST", "/images/debian", {}).refused(501, "MMDEBSTRAP_MISSING").json["error"]
            check.done()
            skip("needs the program mmdebstrap")
        folder = os.path.join(tmp, "mirror")
        mirror(folder)
        debian = lambda *more: gb.cli("image", "import", "debian", "--suite=tiny", f"--mirror={folder}", "--unsigned", *more, timeout=180)

        def nothing_left(images):
            eventually(lambda: not api.alive(), 60, "no sandbox of it is left")
            eventually(lambda: not [r for r in roots(gb) if r.startswith(".new-")], 60, "no draft is left")
            equal(sorted(i["name"] for i in api.call("GET", "/images").expect(200).json["images"]), images)

        with check("it is made, of the packages asked for, with their scripts run"):
            done = debian("--include=extra", "--json")
            equal(done.returncode, 0, done.stderr[-3000:])
            image = json.loads(done.stdout)
            equal((image["name"], image["source"]), ("debian:tiny", "debian tiny"))
            box = gb_box(gb, api.create(image="debian:tiny").id)
            equal(box.sh("extra; cat /etc/made-by-apt; id -u").ok().stdout, "extra\nconfigured\n0\n")
            equal(box.sh("dpkg -s tiny apt extra").ok().stdout.count("Status: install ok installed"), 3)
            box.sh("[ ! -e /.packages ] && [ ! -e /etc/apt/sources.list ] && [ -d /var/lib/dpkg ] && [ -L /bin ]").ok()
            box.delete()
            nothing_left(["debian:tiny"])
            assert len(roots(gb)) <= 5, f"parts of its making are left: {roots(gb)}"
        with check("a package that is not there, and one whose script fails: it says so, and nothing is left"):
            for include, word in (("nobody-has-this", "nobody-has-this"), ("broken", "broken")):
                done = debian(f"--include={include}", "--name=x:1")
                equal(done.returncode, 1, done.stderr[-2000:])
                assert word in done.stderr, done.stderr[-2000:]
                assert "Dockerfile" not in done.stderr and "step " not in done.stderr, done.stderr[-2000:]
                program = "mmdebstrap fetches" if include == "nobody-has-this" else "dpkg installs"
                assert done.stderr.count(program) == 2, f"once before it, once in the error: {done.stderr[-2000:]}"
                nothing_left(["debian:tiny"])
        with check("where sandboxes have no internet it is said before anything is begun"):
            done = gb.cli("image", "import", "debian")
            equal(done.returncode, 1)
            assert "mmdebstrap" in done.stderr and "deb.debian.org" in done.stderr and "default_network" in done.stderr, done.stderr
            nothing_left(["debian:tiny"])
        with check("who goes away in the middle leaves nothing"):
            files = io.BytesIO()
            with tarfile.open(fileobj=files, mode="w") as archive:
                archive.add(folder, ".")
            context = api.call("POST", "/images/contexts", files.getvalue(), timeout=60).expect(201).json["context"]
            connection, answer = api.open("POST", "/images/debian", {"name": "x:1", "suite": "tiny", "context": context, "unsigned": True})
            equal(answer.status, 200)
            eventually(lambda: api.alive(), 60, "its sandbox")
            connection.close()
            answer.close()
            nothing_left(["debian:tiny"])
        with check("it is there, and that is said, where what it no longer needs could not be removed"):
            def start(environment):
                gb.down()
                gb.environment = environment
                gb.start()

            # A start removes what is left of before, and must be able to: also what the one before it was about to let go of when it was stopped.
            for left in reversed(range(10)):
                start({})
                try:
                    start({"GLOVEBOX_FAULT": "image.drop.after_row:fail"})
                    break
                except AssertionError:
                    assert left, "something is removed at each start"
            done = debian("--name=x:2")
            equal(done.returncode, 0, done.stderr[-2000:])
            assert "image.drop.after_row" in gb.log(), "nothing was to be removed"
            start({})
            api = api_of(gb)
            nothing_left(["debian:tiny", "x:2"])
        check.done()


if __name__ == "__main__":
    run(test)
