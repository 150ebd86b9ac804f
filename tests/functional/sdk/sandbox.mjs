// What a user of the SDK does, in the order of its documentation. Each check prints a line; the first failures end with exit 1.
import assert from "node:assert/strict";
import { Sandbox, SandboxClient, SandboxNotFoundError, StdinMode } from "tensorlake";

let failed = 0;
async function check(promise, body) {
  const began = Date.now();
  try {
    let timer;
    const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("not within 60 s")), 60_000); });
    await Promise.race([body(), late]).finally(() => clearTimeout(timer));
    console.log(`  ok      ${promise} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed++;
    console.log(`  FAILED  ${promise}: ${error?.constructor?.name}: ${error?.message}`);
    console.error(error);
  }
}
async function eventually(condition, what, limit = 15_000) {
  for (const deadline = Date.now() + limit; ; ) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);

let sandbox;
await check("create: a running sandbox, without another lifecycle call", async () => {
  sandbox = await Sandbox.create({ name: "sdk-test", cpus: 1, memoryMb: 1024, timeoutSecs: 300 });
  assert.ok(sandbox.sandboxId);
  assert.equal(sandbox.name, "sdk-test");
});
if (!sandbox) process.exit(1);

await check("info, status, list", async () => {
  const info = await sandbox.info();
  assert.equal(info.sandboxId, sandbox.sandboxId);
  assert.equal(info.status, "running");
  assert.equal(info.resources.memoryMb, 1024);
  assert.ok(info.createdAt instanceof Date && Math.abs(Date.now() - info.createdAt.getTime()) < 600_000);
  assert.equal(await sandbox.status(), "running");
  const listed = await Sandbox.list();
  assert.ok(listed.some((one) => one.sandboxId === sandbox.sandboxId));
});
await check("run: stdout, stderr, exit code, env, working directory", async () => {
  const result = await sandbox.run("/bin/bash", { args: ["-c", "echo out; echo err >&2; echo $WORD; pwd; exit 3"], env: { WORD: "a b" }, workingDir: "/tmp" });
  assert.deepEqual([result.exitCode, result.stdout.trimEnd(), result.stderr.trimEnd()], [3, "out\na b\n/tmp", "err"]);
});
await check("run: a time-out, a signal, a command that is not there", async () => {
  const late = await sandbox.run("sleep", { args: ["100"], timeout: 0.5 });
  assert.equal(late.exitCode, -9);
  await assert.rejects(sandbox.run("no-such-command").then((r) => { if (r.exitCode !== 0) throw new Error("exit " + r.exitCode); }));
});
await check("files: write, read, list, delete, not found", async () => {
  const data = new Uint8Array(300_000).map((_, i) => i * 7);
  await sandbox.writeFile("/tmp/sdk dir/a+b ä.bin", data);
  assert.deepEqual(new Uint8Array(await sandbox.readFile("/tmp/sdk dir/a+b ä.bin")), data);
  const listing = await sandbox.listDirectory("/tmp/sdk dir");
  assert.deepEqual(listing.entries.map((e) => [e.name, e.isDir, e.size]), [["a+b ä.bin", false, 300_000]]);
  await sandbox.deleteFile("/tmp/sdk dir/a+b ä.bin");
  await assert.rejects(sandbox.readFile("/tmp/sdk dir/a+b ä.bin"), (error) => error.status === 404 || /404|NOT_FOUND|no such/i.test(error.message));
});
await check("processes: start, list, get, signal, kill", async () => {
  const started = await sandbox.startProcess("sleep", { args: ["300"] });
  assert.equal(started.status, "running");
  assert.ok((await sandbox.listProcesses()).some((p) => p.pid === started.pid));
  await sandbox.killProcess(started.pid);
  const ended = await eventually(async () => { const p = await sandbox.getProcess(started.pid); return p.status !== "running" && p; }, "killed");
  assert.deepEqual([ended.status, ended.signal], ["signaled", 9]);
  const other = await sandbox.startProcess("sleep", { args: ["300"] });
  assert.equal((await sandbox.sendSignal(other.pid, 15)).success, true);
  await eventually(async () => (await sandbox.getProcess(other.pid)).signal === 15, "terminated");
});
await check("processes: stdin, captured output, follow", async () => {
  const cat = await sandbox.startProcess("/bin/bash", { args: ["-c", "cat; echo done >&2"], stdinMode: StdinMode.PIPE });
  const lines = [];
  const following = (async () => { for await (const event of sandbox.followOutput(cat.pid)) lines.push([event.stream, event.line]); })();
  await sandbox.writeStdin(cat.pid, bytes("one\ntwo\n"));
  await sandbox.closeStdin(cat.pid);
  await following;
  assert.deepEqual(lines.filter(([s]) => s === "stdout").map(([, l]) => l), ["one", "two"]);
  assert.deepEqual(lines.filter(([s]) => s === "stderr").map(([, l]) => l), ["done"]);
  assert.deepEqual((await sandbox.getStdout(cat.pid)).lines, ["one", "two"]);
  assert.deepEqual((await sandbox.getStderr(cat.pid)).lines, ["done"]);
  assert.equal((await sandbox.getOutput(cat.pid)).lineCount, 3);
});
await check("pty: input, output, resize, exit code", async () => {
  let seen = "";
  const pty = await sandbox.createPty({ command: "/bin/bash", args: ["--norc"], rows: 30, cols: 90, onData: (data) => { seen += text(data); } });
  await pty.sendInput("stty size\n");
  await eventually(() => seen.includes("30 90"), "the size: " + JSON.stringify(seen));
  await pty.resize(101, 41);
  await pty.sendInput("stty size\n");
  await eventually(() => seen.includes("41 101"), "the new size");
  await pty.sendInput("exit 7\n");
  assert.equal(await pty.wait(), 7);
});
await check("pty: kill", async () => {
  const pty = await sandbox.createPty({ command: "sleep", args: ["300"] });
  const ended = pty.wait().catch(() => "closed");
  await pty.kill();
  await ended;
});
await check("connect by name, health, daemon info", async () => {
  const again = await Sandbox.connect({ sandboxId: "sdk-test" });
  assert.equal((await again.run("echo", { args: ["by name"] })).stdout.trimEnd(), "by name");
  assert.equal((await again.health()).healthy, true);
  assert.ok((await again.daemonInfo()).totalProcesses >= 1);
  again.close();
});
await check("ports: expose, unexpose; update", async () => {
  const client = new SandboxClient({}, true);
  let info = await client.exposePorts(sandbox.sandboxId, [8080, 3000]);
  assert.deepEqual([...info.exposedPorts].sort(), [3000, 8080]);
  info = await client.unexposePorts(sandbox.sandboxId, [3000]);
  assert.deepEqual(info.exposedPorts, [8080]);
  info = await client.unexposePorts(sandbox.sandboxId, [8080]);
  assert.deepEqual(info.exposedPorts ?? [], []);
  info = await sandbox.update({ name: "sdk-renamed" });
  assert.equal(info.name, "sdk-renamed");
});
await check("twenty at once", async () => {
  const results = await Promise.all(Array.from({ length: 20 }, (_, i) => sandbox.run("echo", { args: [`n${i}`] })));
  assert.deepEqual(results.map((r) => r.stdout.trimEnd()), Array.from({ length: 20 }, (_, i) => `n${i}`));
});
await check("terminate, and what is unknown is SandboxNotFoundError", async () => {
  const client = new SandboxClient({}, true);
  await sandbox.terminate();
  await eventually(async () => (await client.get(sandbox.sandboxId)).status === "terminated", "terminated");
  await client.delete(sandbox.sandboxId);
  await assert.rejects(client.get("nonexistent-sandbox-id-000"), SandboxNotFoundError);
});
process.exit(failed ? 1 : 0);
