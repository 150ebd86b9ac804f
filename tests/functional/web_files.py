"""An https server of the test's own: files, redirections, and bare git repositories by git's own http-backend.

    with WebFiles(tmp) as web:
        web.put("/set.tar.gz", data); web.repository("tool", {"README": "hi"})
        web.url, web.ca     # "https://127.0.0.1:PORT", the certificate to trust
"""
import http.server
import os
import ssl
import subprocess
import threading

from harness import need_program


def sh(*words, cwd=None, env=None, input=None):
    done = subprocess.run(words, cwd=cwd, env=env, input=input, capture_output=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode().strip()


def certificate(tmp):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    need_program("openssl")
    cert, key = os.path.join(tmp, "web.pem"), os.path.join(tmp, "web.key")
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
       "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert)
    os.chmod(cert, 0o644)
    return cert, key


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def backend(self, body):
        path, _, query = self.path.partition("?")
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.server.repositories, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path[len("/git"):],
               "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
               "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        self.reply(status, content, **{n.replace("-", "_"): v for n, v in headers.items()})

    def do_GET(self):
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        if self.path.startswith("/git/"):
            return self.backend(b"")
        what = self.server.content.get(self.path.partition("?")[0])
        if callable(what):
            return what(self)
        if isinstance(what, str):
            return self.reply(302, Location=what)
        return self.reply(200, what) if what is not None else self.reply(404, b"nothing")

    def do_POST(self):
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        self.backend(self.rfile.read(int(self.headers.get("Content-Length", 0))))


class WebFiles:
    def __init__(self, tmp):
        need_program("git")
        self.tmp = tmp
        self.ca, self.key = certificate(tmp)
        self.repositories = os.path.join(tmp, "repositories")
        os.mkdir(self.repositories)

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that goes away in the middle
        self.server.repositories, self.server.content, self.server.seen = self.repositories, {}, []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, self.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def put(self, path, what):
        """Bytes; a text is where a redirection leads; a callable is given the handler."""
        self.server.content[path] = what
        return self.url + path

    def seen(self, path):
        return [one for one in self.server.seen if one[1].startswith(path)]

    def repository(self, name, *commits, tag=None):
        """Each commit is {path: text or bytes; None removes; ("link", to)}. Gives the commits' ids."""
        work = os.path.join(self.tmp, "work-" + name)
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
               "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        sh("git", "init", "-q", "-b", "main", work, env=env)
        ids = []
        for files in commits:
            for path, text in files.items():
                full = os.path.join(work, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                if isinstance(text, tuple):
                    os.symlink(text[1], full)
                else:
                    with open(full, "wb") as file:
                        file.write(text if isinstance(text, bytes) else text.encode())
                    if text.startswith(b"#!" if isinstance(text, bytes) else "#!"):
                        os.chmod(full, 0o755)
            sh("git", "add", "-A", cwd=work, env=env)
            sh("git", "commit", "-q", "-m", "next", cwd=work, env=env)
            ids.append(sh("git", "rev-parse", "HEAD", cwd=work, env=env))
        if tag:
            sh("git", "tag", "-a", "-m", tag, tag, ids[0], cwd=work, env=env)
        sh("git", "clone", "-q", "--bare", work, os.path.join(self.repositories, name + ".git"), env=env)
        return ids

    def git(self, name):
        return f"{self.url}/git/{name}.git"
