"""The official npm SDK builds images here and uses them, over this machine's own image and over an imported one.
labels: privileged timeout=300
"""
import os
import shutil
import subprocess

from harness import Glovebox, run
from image_files import root_tar
from node_packages import HERE, PACKAGES, installed, node
from support import api_of, equal
from test_images import import_image

SDK = {name: PACKAGES[name] for name in ("tensorlake", "node")}


def test(tmp):
    folder = installed(SDK)
    with Glovebox(tmp) as gb:
        api = api_of(gb)
        import_image(api, root_tar(), "shell:1").expect(201)
        script = os.path.join(folder, f"sdk-images-{os.getpid()}.mjs")  # imports are looked up beside the script
        shutil.copy(os.path.join(HERE, "sdk", "images.mjs"), script)
        try:
            for base in ("tensorlake/ubuntu-minimal", "shell:1"):
                environment = {"PATH": "/usr/bin:/bin", "HOME": tmp, "TENSORLAKE_API_URL": gb.url, "TENSORLAKE_API_KEY": gb.key, "BASE_IMAGE": base,
                               "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "TMPDIR": tmp}
                done = subprocess.run([node(folder), script], env=environment, capture_output=True, text=True, timeout=120)
                print(done.stdout, end="")
                assert done.returncode == 0, f"{base}: exit {done.returncode}\n{done.stderr[-6000:]}"
        finally:
            os.unlink(script)
        names = [item["name"] for item in api.call("GET", "/platform/v1/sandbox-templates?pageSize=100").expect(200).json["items"]]
        assert "sdk-image" in names and "sdk-broken" not in names, names
        found = api.call("GET", "/platform/v1/organizations/o/projects/p/sandbox-templates/by-name/sdk-image").expect(200).json
        equal(found["rootfsNodeKind"], "base")
        api.call("DELETE", "/platform/v1/sandbox-templates/sdk-image").expect(200, 204)
        api.call("GET", "/platform/v1/sandbox-templates/by-name/sdk-image").expect(404)
        equal([s for s in api.alive()], [], "sandboxes that are left")


run(test)
