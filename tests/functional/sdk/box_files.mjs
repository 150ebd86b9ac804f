// Files, terminals, tunnels and the desktop that goes through one.
import net from "node:net";
import { Sandbox } from "tensorlake";
import { assert, bytes, image, refused, report, say, sh, words } from "./box_common.mjs";
import { check, done, eventually } from "./common.mjs";

const box = await Sandbox.create({ name: "sdk-files" });
const pattern = (size, by = 7) => { const data = new Uint8Array(size); for (let i = 0; i < size; i++) data[i] = i * by; return data; };

await check("write, read, list, delete; odd names, made parents, replaced files", async () => {
  const path = "/tmp/sdk dir/deep/a+b & ä%20?.bin";
  await box.writeFile(path, pattern(300_000));
  assert.deepEqual(Buffer.from(await box.readFile(path)), Buffer.from(pattern(300_000)));
  await box.writeFile(path, bytes("short"));
  assert.equal(say(await box.readFile(path)), "short");
  await box.writeFile("/tmp/sdk dir/empty", new Uint8Array());
  assert.equal((await box.readFile("/tmp/sdk dir/empty")).length, 0);
  const list = await box.listDirectory("/tmp/sdk dir");
  assert.equal(list.path, "/tmp/sdk dir");
  assert.deepEqual(list.entries.map((e) => [e.name, e.isDir]), [["deep", true], ["empty", false]]);
  assert.ok(list.entries[1].modifiedAt instanceof Date && list.entries[1].size === 0);
  await box.deleteFile(path);
  await refused(box.readFile(path), 404);
  await refused(box.deleteFile(path), 404);
});
await check("refusals: a directory, a file as one, ways up, no such directory", async () => {
  await refused(box.readFile("/tmp"), 400, /IS_DIRECTORY/);
  await refused(box.listDirectory("/etc/passwd"), 400, /NOT_A_DIRECTORY/);
  await refused(box.readFile("/tmp/../etc/passwd"), 403, /PATH_TRAVERSAL/);
  await refused(box.listDirectory("/nowhere"), 404);
});
await check("a large upload arrives whole, streamed to disk", async () => {
  const data = pattern(64 << 20, 31);
  await box.writeFile("/tmp/large", data);
  assert.equal(await words(box, "stat -c %s /tmp/large"), String(64 << 20));
  assert.equal(Buffer.compare(Buffer.from(await box.readFile("/tmp/large")), Buffer.from(data)), 0);
  await box.deleteFile("/tmp/large");
}, 120_000);
await check("pty: session, socket, input, resize, handlers, exit", async () => {
  let seen = "", code;
  const session = await box.createPtySession({ command: "/bin/bash", args: ["--norc"], rows: 30, cols: 90, env: { MARK: "here" }, workingDir: "/tmp" });
  assert.ok(box.ptyWsUrl(session.sessionId, session.token).startsWith("ws://"));
  const pty = await box.connectPty(session.sessionId, session.token, { onData: (d) => { seen += say(d); }, onExit: (c) => { code = c; } });
  await pty.sendInput("stty size; echo $MARK:$PWD\n");
  await eventually(() => seen.includes("30 90") && seen.includes("here:/tmp"), "size, environment, directory");
  await pty.resize(101, 41);
  await pty.sendInput(bytes("stty size\n"));
  await eventually(() => seen.includes("41 101"), "the new size");
  let more = 0;
  const off = pty.onData(() => { more++; });
  await pty.sendInput("echo x\n");
  await eventually(() => more > 0, "a second handler");
  off();
  pty.onExit(() => {});
  pty.disconnect();
  const again = await box.connectPty(session.sessionId, session.token);
  let replay = "";
  again.onData((d) => { replay += say(d); });
  await again.sendInput("echo back; exit 7\n");
  assert.equal(await again.wait(), 7);
  await assert.rejects(box.connectPty(session.sessionId, "wrong-token"));
});
await check("pty: createPty and kill", async () => {
  const pty = await box.createPty({ command: "sleep", args: ["300"] });
  const ended = pty.wait().catch(() => "closed");
  await pty.kill();
  await ended;
  assert.equal(await words(box, "pgrep -c '^sleep$' || true"), "0");
});
const talk = (port, host, data) => new Promise((resolve, reject) => {
  const socket = net.connect(port, host, () => socket.end(data));
  const got = [];
  socket.on("data", (d) => got.push(d)).on("end", () => resolve(Buffer.concat(got))).on("error", reject);
});
await check("tunnel: many connections, large and both ways; closed, nothing listens", async () => {
  await box.writeFile("/tmp/echo.py", bytes(`import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 7000)); s.listen(50)
print("up", flush=True)
def echo(c):
    data = b""
    while piece := c.recv(65536): data += piece
    c.sendall(data[::-1]); c.close()
while True:
    threading.Thread(target=echo, args=(s.accept()[0],)).start()
`));
  const server = await box.startProcess("python3", { args: ["/tmp/echo.py"] });
  await eventually(async () => (await box.getStdout(server.pid)).lines[0] === "up", "the server");
  const tunnel = await box.createTunnel(7000, { localPort: 0 });
  const { host, port } = tunnel.address();
  const small = await Promise.all(Array.from({ length: 8 }, (_, i) => talk(port, host, `n${i}`).catch((e) => String(e))));
  // A WebSocket has no half close: a client that ends its side may get nothing any more.
  assert.ok(small.every((s) => s.length === 0 || s.length === 2), String(small));
  await tunnel.close();
  await assert.rejects(talk(port, host, "x"));
});
// The smallest server of the protocol that a desktop speaks: shows one colour, writes down what is typed and clicked.
const VNC = `import socket, struct, threading
W, H = 64, 48
def serve(c):
    def get(n):
        data = b""
        while len(data) < n:
            piece = c.recv(n - len(data))
            if not piece: raise EOFError
            data += piece
        return data
    c.sendall(b"RFB 003.008\\n"); get(12); c.sendall(b"\\x01\\x01"); get(1); c.sendall(bytes(4)); get(1)
    c.sendall(struct.pack(">HH", W, H) + struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0) + struct.pack(">I", 3) + b"box")
    log = open("/tmp/vnc.log", "a", buffering=1)
    while True:
        kind = get(1)[0]
        if kind == 0: get(19)
        elif kind == 2: get(struct.unpack(">xH", get(3))[0] * 4)
        elif kind == 3:
            get(9)
            c.sendall(struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 0, 0, W, H, 0) + b"\\x10\\x20\\x30\\xff" * (W * H))
        elif kind == 4: down, key = struct.unpack(">BxxI", get(7)); log.write(f"key {down} {key}\\n")
        elif kind == 5: mask, x, y = struct.unpack(">BHH", get(5)); log.write(f"mouse {mask} {x} {y}\\n")
        elif kind == 6: get(struct.unpack(">xxxI", get(7))[0])
s = socket.socket(); s.bind(("127.0.0.1", 5901)); s.listen(5)
def guarded(c):
    try: serve(c)
    except (EOFError, OSError): pass
while True: threading.Thread(target=guarded, args=(s.accept()[0],)).start()
`;
await check("desktop: connected through a tunnel, seen, clicked and typed at", async () => {
  await box.writeFile("/tmp/vnc.py", bytes(VNC));
  const server = await box.startProcess("python3", { args: ["/tmp/vnc.py"] });
  const desktop = await box.connectDesktop({ connectTimeout: 20 });
  assert.deepEqual([desktop.width, desktop.height], [64, 48]);
  const picture = await desktop.screenshot();
  assert.ok(picture.length > 50 && say(picture.slice(1, 4)) === "PNG");
  await desktop.click({ x: 10, y: 20 });
  await desktop.press("a");
  await eventually(async () => { const log = say(await box.readFile("/tmp/vnc.log")); return log.includes("mouse 1 10 20") && log.includes("key 1 97"); }, "what was done");
  await desktop.close();
  await box.killProcess(server.pid);
});
await box.terminate();
report();
done();
