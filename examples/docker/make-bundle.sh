#!/bin/bash
# Makes a bundle for runc of a root that make-root.sh has filled. All sessions share it: the root is read-only, /workspace and /tmp are
# each container's own, in memory; the item with its secret comes on stdin.
#
#     ./make-bundle.sh bundle root http://127.0.0.1:8400
set -eu
[ $# = 3 ] || { sed -n '2,5s/^# \?//p' "$0" >&2; exit 2; }
root=$(realpath "$2")
mkdir "$1"
cat > "$1/config.json" <<END
{
  "ociVersion": "1.0.2",
  "hostname": "session",
  "root": {"path": "$root", "readonly": true},
  "process": {
    "terminal": false, "cwd": "/workspace", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true, "capabilities": {},
    "env": ["PATH=/usr/bin", "HOME=/workspace"],
    "args": ["/usr/bin/glovebox", "worker", "run", "--stdin", "--base-url=$3", "--max-idle=${MAX_IDLE:-60s}"]
  },
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
    {"destination": "/workspace", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
    "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
    "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/bus", "/proc/fs", "/proc/irq"]
  }
}
END
