#!/usr/bin/env python3
"""Runs functional tests on Debian 12 as it comes: its kernel, systemd, control groups of version 2.

    tools/test_vm.py lifecycle canaries          those tests, in a machine of QEMU's (default: a short list)
    tools/test_vm.py --build build-release ...   with the programs of that build, stripped

The machine is made anew for each run from a root directory that is kept (build-vm/root). It has no network. Emulated, it is ten
times slower than this one: --accel=kvm where that works. The last line is the result, as in tools/run_tests.py.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PLACE = os.path.join(ROOT, "build-vm")
BASE, DISK, LOG = (os.path.join(PLACE, name) for name in ("root", "disk.img", "console.log"))
PROGRAMS = ("glovebox", "glovebox-hand", "glovebox-image", "glovebox-unpack", "glovebox-worker")
USUAL = ("lifecycle", "canaries", "abuse_a", "abuse_b", "processes", "snapshots", "suspend", "cold", "pools", "volumes", "direct", "network", "image_build", "engine_crash")
PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "python3", "btrfs-progs", "nftables", "iproute2", "procps", "psmisc",
            "util-linux", "openssl", "ca-certificates", "curl", "git", "gcc", "libc6-dev", "bash")
NEEDS = {"mmdebstrap": "mmdebstrap", "qemu-system-x86_64": "qemu-system-x86", "mkfs.ext4": "e2fsprogs", "strip": "binutils"}
UNIT = """[Unit]
Description=Functional tests
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/opt/glovebox/run
"""
# The console is all there is to see, so the kernel says nothing on it but what is wrong.
RUN = """#!/bin/sh
exec </dev/null >/dev/ttyS0 2>&1
ip link set lo up
cd /opt/glovebox
echo "kernel $(uname -r), $(stat -fc %T /sys/fs/cgroup) at /sys/fs/cgroup, $(findmnt -no OPTIONS /sys/fs/cgroup)"
build/bin/glovebox doctor
for name in $(cat tests.list); do
  echo "=== $name"
  timeout 1800 python3 tests/functional/test_$name.py
  echo "=== $name: exit code $?, up $(cut -d ' ' -f 1 /proc/uptime) s"
done
echo "=== the end"
poweroff -f
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", default=USUAL, help=f"names, without test_ (default: {' '.join(USUAL)})")
    parser.add_argument("--build", default="build", help="build directory whose programs are tested (default: build)")
    parser.add_argument("--accel", default="tcg", help="of QEMU: tcg (default), kvm")
    parser.add_argument("--limit", type=int, default=7200, help="seconds for the whole run (default: 7200)")
    parser.add_argument("-v", action="store_true", help="show what the tests say while they run")
    return parser.parse_args()


def run(*command, **more):
    return subprocess.run(command, check=True, **more)


def make_base():
    """Debian as mmdebstrap makes it. Under another name until it is whole."""
    if os.path.isdir(BASE):
        return
    print("making a Debian 12, once; this takes some minutes", flush=True)
    fresh = BASE + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    with open(os.path.join(PLACE, "mmdebstrap.log"), "w") as log:
        if subprocess.run(["mmdebstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES), "bookworm", fresh], stdout=log, stderr=log).returncode:
            sys.exit(f"mmdebstrap failed: {log.name}")
    os.rename(fresh, BASE)


def put(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def libraries(program):
    """What the loader would find here: the machine has no compiler of ours and not the packages it would have come with."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"=> (/\S+)", text)


def furnish(build, tests):
    """The tree and the programs, into the root directory, and that into a disk."""
    here = os.path.join(BASE, "opt", "glovebox")
    shutil.rmtree(here, ignore_errors=True)
    os.makedirs(os.path.join(here, "build", "bin"))
    files = run("git", "-C", ROOT, "ls-files", "-z", "src", "tests", "tools", "docs", "examples", "README.md", "Makefile", capture_output=True).stdout
    tree = run("tar", "-C", ROOT, "--null", "-T", "-", "-cf", "-", input=files, capture_output=True).stdout
    run("tar", "-C", here, "-xf", "-", input=tree)
    for name in PROGRAMS:
        program = os.path.join(ROOT, build, "bin", name)
        if not os.path.exists(program):
            sys.exit(f"{program} is not there: make, or --build")
        run("strip", "-o", os.path.join(here, "build", "bin", name), program)
        for library in libraries(program):
            if not os.path.exists(BASE + os.path.realpath(library)):
                shutil.copy2(library, os.path.join(BASE, "usr/lib/x86_64-linux-gnu", os.path.basename(library)))
    put(os.path.join(here, "tests.list"), "\n".join(tests) + "\n")
    put(os.path.join(here, "run"), RUN, 0o755)
    units = os.path.join(BASE, "etc/systemd/system")
    put(os.path.join(units, "glovebox-tests.service"), UNIT)
    for link, target in (("multi-user.target.wants/glovebox-tests.service", "../glovebox-tests.service"), ("serial-getty@ttyS0.service", "/dev/null")):
        os.makedirs(os.path.dirname(os.path.join(units, link)), exist_ok=True)
        if not os.path.islink(os.path.join(units, link)):
            os.symlink(target, os.path.join(units, link))
    if os.path.exists(DISK):
        os.remove(DISK)
    run("truncate", "-s", "16G", DISK)
    run("mkfs.ext4", "-q", "-d", BASE, DISK)


def boot(accel, limit, loud):
    """Gives the console's lines as they come."""
    (kernel,) = (name for name in os.listdir(os.path.join(BASE, "boot")) if name.startswith("vmlinuz-"))
    kernel, initrd = (os.path.join(BASE, "boot", kernel.replace("vmlinuz", part)) for part in ("vmlinuz", "initrd.img"))
    machine = subprocess.Popen(
        ["timeout", str(limit), "qemu-system-x86_64", "-M", "q35", "-accel", accel + (",thread=multi" if accel == "tcg" else ""), "-cpu", "max", "-smp", "2",
         "-m", "3072", "-nographic", "-no-reboot", "-nic", "none", "-kernel", kernel, "-initrd", initrd,
         "-drive", f"file={DISK},format=raw,if=virtio,cache=unsafe", "-append",
         # The emulated counter of cycles is as fast as this machine has time for it: no clock.
         "console=ttyS0 root=/dev/vda rw quiet loglevel=3 panic=-1 systemd.show_status=0" + (" tsc=unstable clocksource=hpet" if accel == "tcg" else "")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with open(LOG, "wb") as log:
        for line in machine.stdout:
            log.write(line)
            log.flush()
            text = line.decode(errors="replace").rstrip()
            if loud:
                print(text, flush=True)
            yield text
    machine.wait()


def main():
    args = arguments()
    for program, package in NEEDS.items():
        if not shutil.which(program):
            sys.exit(f"no program {program}: apt-get install {package}")
    unknown = [name for name in args.tests if not os.path.exists(os.path.join(ROOT, "tests", "functional", f"test_{name}.py"))]
    if unknown:
        sys.exit(f"no test {', '.join(unknown)}: names are those of tests/functional/test_NAME.py")
    if os.geteuid() != 0:
        sys.exit("needs root: a Debian's files belong to many users")
    os.makedirs(PLACE, exist_ok=True)
    make_base()
    furnish(args.build, args.tests)
    counts, said = {"passed": 0, "failed": 0, "skipped": 0}, []
    for line in boot(args.accel, args.limit, args.v):
        ended = re.search(r"=== (\w+): exit code (\d+), up (\d+)", line)
        if " at /sys/fs/cgroup, " in line:
            print(line[line.index("kernel"):], flush=True)
        if ended:
            verdict = {"0": "passed", "77": "skipped"}.get(ended[2], "failed")
            counts[verdict] += 1
            print(f"{verdict:8}{ended[1]}  (up {ended[3]} s)", flush=True)
            if verdict != "passed":
                print("\n".join("    " + text for text in said[-40:]), flush=True)
        said = [] if line.startswith("=== ") else said + [line]
    counts["failed"] += len(args.tests) - sum(counts.values())  # the machine did not get that far
    print(f"all it said: {LOG}")
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    sys.exit(1 if counts["failed"] else 0)


main()
