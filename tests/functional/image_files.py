"""Small images made of this machine's files: a shell, a few tools and their libraries. Nothing is downloaded."""
import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile

TOOLS = ("bash", "cat", "ls", "id", "env", "mkdir", "rm", "cp", "mv", "ln", "chmod", "chown", "sleep", "touch", "stat", "wc", "test", "printf",
         "head", "sha256sum", "readlink", "echo", "true", "false", "pwd", "dd", "tee")
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PASSWD = "root:x:0:0:root:/root:/bin/bash\napp:x:1234:1234:app:/home/app:/bin/bash\n"
GROUP = "root:x:0:\napp:x:1234:\nextra:x:77:app\n"


def libraries(program):
    """What the loader says it needs, the loader itself too."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return sorted({word for word in out.split() if word.startswith("/")})


def shell_files():
    """{path in the image: (mode, bytes)}; links are ("link", target)."""
    files = {"bin": ("link", "usr/bin"), "lib": ("link", "usr/lib"), "lib64": ("link", "usr/lib64"),
             "usr/bin/sh": ("link", "bash"), "etc/passwd": (0o644, PASSWD.encode()), "etc/group": (0o644, GROUP.encode())}
    wanted = {}
    for tool in TOOLS:
        if path := shutil.which(tool, path="/usr/bin:/bin"):
            wanted["usr/bin/" + tool] = path
            wanted |= {lib.lstrip("/") if lib.startswith("/usr") else "usr" + lib: lib for lib in libraries(path)}
    for name, path in wanted.items():
        with open(path, "rb") as file:
            files[name] = (0o755, file.read())
    return files


class Tar:
    """A tar in memory. add("d/"), add("f", b"text"), add("l", link="target"), add("h", hard="f"), add("n", kind=tarfile.CHRTYPE)."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, data=b"", mode=0o644, link=None, hard=None, kind=None, uid=0, gid=0, pax=None):
        info = tarfile.TarInfo(name.rstrip("/") if name.endswith("/") else name)
        info.mode, info.uid, info.gid, info.mtime = mode, uid, gid, 1_000_000_000
        info.pax_headers = pax or {}
        if name.endswith("/"):
            info.type, info.mode = tarfile.DIRTYPE, mode if mode != 0o644 else 0o755
        elif link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, link
        elif hard is not None:
            info.type, info.linkname = tarfile.LNKTYPE, hard
        elif kind is not None:
            info.type, info.devmajor, info.devminor = kind, 1, 3
        data = data.encode() if isinstance(data, str) else data
        info.size = len(data) if info.type == tarfile.REGTYPE else 0
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def add_files(self, files):
        for name, (mode, data) in sorted(files.items(), key=lambda item: item[1][0] != "link"):
            if mode == "link":
                self.add(name, link=data)
            else:
                self.add(name, data, mode)
        return self

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


def root_tar(extra=None):
    tar = Tar().add_files(shell_files())
    for name, data in (extra or {}).items():
        tar.add(name, data)
    return tar.done()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class OciImage:
    """Blobs of an image with the given layers (uncompressed tars), gzipped unless told otherwise."""

    def __init__(self, layers, config=None, machine=MACHINE, pack=True):
        self.blobs, descriptors = {}, []
        for layer in layers:
            blob = gzip.compress(layer, 1, mtime=0) if pack else layer
            self.blobs[digest(blob)] = blob
            descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if pack else ""), "digest": digest(blob),
                                "size": len(blob)})
        self.config = json.dumps({"architecture": machine, "os": "linux", "config": config or {},
                                  "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}).encode()
        self.blobs[digest(self.config)] = self.config
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(self.config), "size": len(self.config)},
            "layers": descriptors}).encode()
        self.digest = digest(self.manifest)
        self.blobs[self.digest] = self.manifest
        self.layers = layers
        self.index = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "0" * 64, "size": 1,
                 "platform": {"os": "linux", "architecture": "m68k"}},
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.digest, "size": len(self.manifest),
                 "platform": {"os": "linux", "architecture": machine}}]}).encode()

    def layout_index(self, name=None):
        entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.digest, "size": len(self.manifest)}
        if name:
            entry["annotations"] = {"io.containerd.image.name": name}
        return json.dumps({"schemaVersion": 2, "manifests": [entry]})

    def layout(self, name=None, damage=None):
        """As an OCI layout in a tar. `damage` is the digest of a blob to spoil."""
        tar = Tar().add("oci-layout", '{"imageLayoutVersion":"1.0.0"}')
        tar.add("index.json", self.layout_index(name))
        for key, blob in self.blobs.items():
            tar.add("blobs/sha256/" + key[7:], blob[:-1] + b"!" if key == damage else blob)
        return tar.done()

    def docker_archive(self, name):
        """As `docker save` writes it."""
        tar, paths = Tar(), []
        for number, layer in enumerate(self.layers):
            paths.append(f"layer{number}/layer.tar")
            tar.add(paths[-1], layer)
        tar.add("config.json", self.config)
        tar.add("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": paths}]))
        return tar.done()
