"""What a test left behind on this machine: processes, mounts, cgroups and files that name its directory."""
import os
import re


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # gone meanwhile, or not ours to read
        return b""


def _namer(needle):
    """Whether bytes name this very file or what is below it: /tmp/a is not meant by /tmp/ab."""
    return re.compile(re.escape(needle.encode()) + rb"(?![\w.-])").search


def _ancestors():
    pids, pid = set(), os.getpid()
    while pid > 1:
        pids.add(pid)
        stat = _read(f"/proc/{pid}/stat").decode(errors="replace")
        if not stat:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return pids


def _namespaces(needle):
    """{mount namespace: mount points in it that name `needle`}, of all namespaces some process is in."""
    found, names = {}, _namer(needle)
    for entry in ["self"] + [e for e in os.listdir("/proc") if e.isdigit()]:
        try:
            namespace = os.readlink(f"/proc/{entry}/ns/mnt")
        except OSError:
            continue
        if namespace not in found:
            lines = _read(f"/proc/{entry}/mountinfo").splitlines()
            found[namespace] = [line.split()[4].decode(errors="replace") for line in lines if names(line)]
    return found


def _holds(entry, names):
    """Whether one of our programs has a file open below what `names` means: parts that say it nowhere else."""
    try:
        if not os.path.basename(os.readlink(f"/proc/{entry}/exe")).startswith("glovebox"):
            return False
        links = [os.readlink(f"/proc/{entry}/fd/{fd}") for fd in os.listdir(f"/proc/{entry}/fd")]
    except OSError:
        return False
    return any(names(link.encode()) for link in links)


def processes(needle, cgroup=""):
    """(pid, command line) of the processes that name `needle`, are in a cgroup that names `cgroup`, are in a mount namespace made
    of something that names `needle`, or are programs of ours with files open below it; but for ourselves and those who started us."""
    namespaces = {name for name, points in _namespaces(needle).items() if points} - {os.readlink("/proc/self/ns/mnt")}
    found, ours, names, cgroup = [], _ancestors(), _namer(needle), cgroup.encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in ours:
            continue
        command = _read(f"/proc/{entry}/cmdline")
        named = names(command) or names(_read(f"/proc/{entry}/environ")) or _holds(entry, names)
        try:
            inside = named or os.readlink(f"/proc/{entry}/ns/mnt") in namespaces
        except OSError:
            inside = named
        if not inside and not (cgroup and cgroup in _read(f"/proc/{entry}/cgroup")):
            continue
        stat = _read(f"/proc/{entry}/stat").decode(errors="replace")
        if not stat or stat.rpartition(")")[2].split()[0] in "ZX":  # dead, its parent has yet to look
            continue
        found.append((int(entry), command.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


def mounts(needle):
    """Mount points of our own mount namespace that name `needle`. (What others hold goes with their processes.)"""
    return sorted(set(_namespaces(needle)[os.readlink("/proc/self/ns/mnt")]))


def cgroups(needle):
    """Directories of the cgroup hierarchies with `needle` in their name."""
    found = []
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(top, name) for name in folders if needle in name]
    return found


def claims(needle):
    """Claims on ranges of user ids that name `needle`."""
    found, names = [], _namer(needle)
    for top, _, files in os.walk("/run/glovebox"):
        found += [os.path.join(top, file) for file in files if names(_read(os.path.join(top, file)))]
    return found


def describe(directory, cgroup=""):
    """One line per thing left; an empty list is what a test wants to see."""
    lines = [f"process {pid}: {command}" for pid, command in processes(directory, cgroup)]
    lines += [f"mount {point}" for point in mounts(directory)]
    lines += [f"claim {path}" for path in claims(directory)]
    if cgroup:
        lines += [f"cgroup {path}" for path in cgroups(cgroup)]
    return lines
