"""What tests of snapshots share: the calls, and a box with every kind of thing in it."""
from support import eventually


class Snapshots:
    """The snapshot calls of the API."""

    def __init__(self, api):
        self.api = api

    def take(self, box, body=None):
        answer = self.api.call("POST", f"/sandboxes/{box}/snapshot", body).expect(202).json
        assert set(answer) == {"snapshot_id", "status"}, answer
        return eventually(lambda: (s := self.get(answer["snapshot_id"]))["status"] == "completed" and s, 30, "the snapshot")

    def get(self, snapshot):
        return self.api.call("GET", f"/snapshots/{snapshot}").expect(200).json

    def list(self):
        return self.api.call("GET", "/snapshots").expect(200).json["snapshots"]

    def delete(self, snapshot):
        return self.api.call("DELETE", f"/snapshots/{snapshot}")

    def copy(self, box, times=1):
        return self.api.call("POST", f"/sandboxes/{box}/copy?times={times}", timeout=120).expect(200, 201).json

    def export(self, snapshot):
        return self.api.call("GET", f"/snapshots/{snapshot}/export", timeout=300).expect(200).body

    def bring(self, file, **more):
        """The answer to an import."""
        return self.api.call("POST", "/snapshots/import", file, timeout=300, **more)

    def rollback(self, box, snapshot):
        return self.api.call("POST", f"/sandboxes/{box}/rollback", {"snapshot_id": snapshot}, timeout=120)


def fill(box):
    """Every kind of thing an upper can hold: files, links, deleted and replaced names of the image, owners, modes, attributes."""
    box.sh("""set -e
        mkdir -p /data/deep/er; echo one > /data/one; ln /data/one /data/hard; ln -s one /data/soft
        dd if=/dev/urandom of=/data/big bs=1M count=5 status=none; sha256sum /data/big > /data/big.sum
        chmod 640 /data/one; chown 1000:1000 /data/one; touch -d @1000000000 /data/one
        rm /etc/services; echo mine > /etc/protocols; mkfifo /data/fifo
        rm -rf /etc/terminfo; mkdir /etc/terminfo; echo opaque > /etc/terminfo/mine
        printf 'x' > "/data/$(printf 'odd\\nname')" """).ok()


def same_files(box):
    box.sh("""set -e
        [ "$(cat /data/hard)" = one ]; [ "$(stat -c %h /data/one)" = 2 ]; [ "$(readlink /data/soft)" = one ]
        sha256sum -c --quiet /data/big.sum
        [ "$(stat -c '%a %u %g %Y' /data/one)" = '640 1000 1000 1000000000' ]
        [ ! -e /etc/services ]; [ "$(cat /etc/protocols)" = mine ]; [ -p /data/fifo ]
        [ "$(ls -A /etc/terminfo)" = mine ]; [ -e "/data/$(printf 'odd\\nname')" ]; [ -d /data/deep/er ]""").ok()
