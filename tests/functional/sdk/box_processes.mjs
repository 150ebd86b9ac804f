// Processes of every kind, their output and their logs.
import { OutputMode, Sandbox, StdinMode } from "tensorlake";
import { assert, bytes, client, refused, report, sh, words } from "./box_common.mjs";
import { check, done, eventually, sleep } from "./common.mjs";

const box = await Sandbox.create({ name: "sdk-processes" });
const quick = { policy: "on_failure", initialBackoffMs: 20, maxBackoffMs: 100 };
const gather = async (events) => { const lines = []; for await (const e of events) lines.push([e.stream, e.line]); return lines; };
const ended = (pid) => eventually(async () => { const p = await box.getProcess(pid); return p.status !== "running" && p; }, `${pid} ended`);

await check("run: stdout, stderr, exit code, environment, directory, user", async () => {
  const r = await sh(box, "echo out; echo err >&2; echo $WORD; pwd; exit 3", { env: { WORD: "a b" }, workingDir: "/tmp" });
  assert.deepEqual([r.exitCode, r.stdout.trimEnd(), r.stderr.trimEnd()], [3, "out\na b\n/tmp", "err"]);
  assert.equal(await words(box, "id -u"), "0");
  assert.equal((await sh(box, "id -u", { user: "nobody" })).stdout.trimEnd(), "65534");
  assert.equal((await sh(box, "id -u; id -g", { user: { uid: 1234, gid: 55 } })).stdout.trimEnd(), "1234\n55");
  assert.equal((await sh(box, "id -u", { user: "1234:55" })).stdout.trimEnd(), "1234");
});
await check("run: large output, long lines, odd bytes, no newline at the end", async () => {
  const big = await sh(box, "head -c 3000000 /dev/zero | tr '\\0' x; echo; seq 20000; printf 'ä€😀'");
  const lines = big.stdout.split("\n").filter(Boolean);
  assert.equal(lines[0].length, 3_000_000);
  assert.ok(lines.includes("20000") && lines.at(-1).endsWith("ä€😀"));
  assert.equal((await sh(box, "printf '\\xff\\xfe'")).stdout.trimEnd(), "\ufffd\ufffd");
  assert.equal((await box.run("true")).stdout, "");
});
await check("run: time-out, signal, no such command", async () => {
  assert.equal((await box.run("sleep", { args: ["100"], timeout: 0.4 })).exitCode, -9);
  assert.equal((await sh(box, "kill -15 $$")).exitCode, -15);
  await assert.rejects(box.run("no-such-command"));
});
await check("start, get, list, signal, kill; discarded output", async () => {
  const p = await box.startProcess("sleep", { args: ["300"] });
  assert.deepEqual([p.status, p.command, p.args, p.stdinWritable], ["running", "sleep", ["300"], false]);
  assert.ok(p.startedAt instanceof Date && p.pid > 0);
  assert.ok((await box.listProcesses()).some((one) => one.pid === p.pid && one.status === "running"));
  assert.equal((await box.sendSignal(p.pid, 15)).success, true);
  const end = await ended(p.pid);
  assert.deepEqual([end.status, end.signal], ["signaled", 15]);
  assert.ok(end.endedAt instanceof Date);
  const q = await box.startProcess("sleep", { args: ["300"] });
  await box.killProcess(q.pid);
  assert.equal((await ended(q.pid)).signal, 9);
  const silent = await box.startProcess("/bin/bash", { args: ["-c", "echo a; echo b >&2"], stdoutMode: OutputMode.DISCARD, stderrMode: OutputMode.CAPTURE });
  await ended(silent.pid);
  assert.deepEqual([(await box.getStdout(silent.pid)).lines, (await box.getStderr(silent.pid)).lines], [[], ["b"]]);
  await refused(box.getProcess(999_999), 404);
  await refused(box.sendSignal(q.pid, 200), 400);
});
await check("stdin in pieces, its end, and a process that has none", async () => {
  const cat = await box.startProcess("cat", { stdinMode: StdinMode.PIPE });
  assert.equal(cat.stdinWritable, true);
  await box.writeStdin(cat.pid, bytes("one\ntw"));
  await box.writeStdin(cat.pid, bytes("o\n"));
  await box.writeStdin(cat.pid, new Uint8Array(300_000).fill(97));
  await box.closeStdin(cat.pid);
  assert.equal((await ended(cat.pid)).exitCode, 0);
  const deaf = await box.startProcess("sleep", { args: ["300"] });
  await refused(box.writeStdin(deaf.pid, bytes("x")), 400, /STDIN_NOT_WRITABLE/);
  await box.killProcess(deaf.pid);
});
await check("captured output, and follow of each stream to its end", async () => {
  const p = await box.startProcess("/bin/bash", { args: ["-c", "echo early; sleep 0.5; echo late; echo wrong >&2"] });
  const [out, err, both] = await Promise.all([gather(box.followStdout(p.pid)), gather(box.followStderr(p.pid)), gather(box.followOutput(p.pid))]);
  assert.deepEqual(out.map(([, l]) => l), ["early", "late"]);
  assert.deepEqual(err.map(([, l]) => l), ["wrong"]);
  assert.deepEqual(both.filter(([s]) => s === "stderr").map(([, l]) => l), ["wrong"]);
  assert.equal(both.length, 3);
  assert.deepEqual((await box.getStdout(p.pid)).lines, ["early", "late"]);
  const all = await box.getOutput(p.pid);
  assert.deepEqual([all.lineCount, all.pid], [3, p.pid]);
  assert.equal((await gather(box.followOutput(p.pid))).length, 3);  // of an ended one: all, and the end
});
await check("a follower that gives up stops nothing", async () => {
  const p = await box.startProcess("/bin/bash", { args: ["-c", "while :; do echo tick; sleep 0.05; done"] });
  const abort = new AbortController();
  let seen = 0;
  try { for await (const _ of box.followOutput(p.pid, { signal: abort.signal })) if (++seen === 3) abort.abort(); } catch (error) { assert.match(String(error), /abort/i); }
  assert.ok(seen >= 3);
  assert.equal((await box.getProcess(p.pid)).status, "running");
  await box.killProcess(p.pid);
});
await check("a managed process: named, restarted, stopped, in the logs under its name", async () => {
  const p = await box.startProcess("/bin/bash", { args: ["-c", "echo up; sleep 300"], name: "web app", restart: quick });
  assert.deepEqual([p.managed.id, p.managed.name, p.managed.status, p.managed.restartCount, p.managed.healthStatus, p.managed.restart.policy],
    ["web app", "web app", "running", 0, "disabled", "on_failure"]);
  assert.equal((await box.getProcess("web app")).pid, p.pid);
  await eventually(async () => (await box.getStdout("web app")).lines[0] === "up", "its output by name");
  await box.sendSignal("web app", 9);
  const again = await eventually(async () => { const r = await box.getProcess("web app"); return r.pid !== p.pid && r.status === "running" && r; }, "restarted");
  assert.deepEqual([again.managed.restartCount, again.managed.lastExit.signal, again.managed.lastExit.oomKilled], [1, 9, false]);
  assert.ok(again.managed.lastExit.endedAt instanceof Date);
  const third = await box.restartProcess("web app");
  assert.notEqual(third.pid, again.pid);
  await refused(box.startProcess("true", { name: "web app" }), 409);
  await eventually(async () => (await box.listLogProcesses()).processes.some((one) => one.processManagedName === "web app"), "in the logs");
  await box.killProcess("web app");
  assert.equal((await box.getProcess("web app")).managed.status, "stopped");
});
await check("a managed process: backing off, its limit, its health", async () => {
  await box.startProcess("false", { name: "limited", restart: { ...quick, policy: "always", maxRestarts: 2 } });
  const end = await eventually(async () => { const p = await box.getProcess("limited"); return p.managed.status === "stopped" && p; }, "its limit");
  assert.equal(end.managed.restartCount, 2);
  await box.startProcess("false", { name: "slow", restart: { policy: "always", initialBackoffMs: 600_000, maxBackoffMs: 600_000 } });
  const off = await eventually(async () => { const p = await box.getProcess("slow"); return p.managed.status === "backing_off" && p; }, "backing off");
  assert.ok(off.managed.nextRestartAt.getTime() > Date.now());
  await box.killProcess("slow");
  await box.startProcess("sleep", { args: ["300"], name: "sick", restart: { policy: "never" }, healthCheck: { type: "tcp", port: 9, initialDelayMs: 0, intervalMs: 20 } });
  const sick = await eventually(async () => { const p = await box.getProcess("sick"); return p.managed.healthStatus === "unhealthy" && p; }, "unhealthy");
  assert.ok(sick.managed.consecutiveHealthFailures >= 3 && sick.managed.healthCheck.port === 9);
  await box.killProcess("sick");
  await refused(box.restartProcess((await box.startProcess("true")).pid), 400);
});
await check("logs of all processes: in order, by level, process, text, page by page", async () => {
  const p = await box.startProcess("/bin/bash", { args: ["-c", "for i in $(seq 40); do echo needle $i; done; echo bad needle >&2"] });
  await ended(p.pid);
  const filter = (await client.listLogProcesses(box.sandboxId)).processes.find((one) => one.processPid === String(p.pid));
  assert.ok(filter.logCount === 41 && filter.firstSeen <= filter.lastSeen && filter.processCommand.includes("needle"), JSON.stringify(filter));
  const of = { processIds: [filter.processId] };
  const all = await box.getLogs(of);
  assert.deepEqual(all.logs.filter((l) => l.level === 3).map((l) => l.body), Array.from({ length: 40 }, (_, i) => `needle ${i + 1}`));
  assert.deepEqual((await box.getLogs({ ...of, levels: ["error"] })).logs.map((l) => l.body), ["bad needle"]);
  assert.deepEqual((await box.getLogs({ ...of, body: "needle 40" })).logs.map((l) => l.body), ["needle 40"]);
  assert.deepEqual((await box.getLogs({ ...of, tail: 2, levels: ["info"] })).logs.map((l) => l.body), ["needle 39", "needle 40"]);
  const seen = [];
  for (let nextToken, pages = 0; ; pages++) {
    const page = await client.getLogs(box.sandboxId, { ...of, head: 7, nextToken });
    seen.push(...page.logs);
    assert.ok(page.logs.length <= 7 && pages < 10);
    if (!(nextToken = page.nextToken)) break;
  }
  assert.deepEqual(seen.map((l) => l.uuid), all.logs.map((l) => l.uuid));
  assert.equal(new Set(seen.map((l) => l.uuid)).size, 41);
  await refused(client.getLogs(box.sandboxId, { nextToken: "nonsense" }), 400);
});
await check("health and info", async () => {
  assert.equal((await box.health()).healthy, true);
  const info = await box.daemonInfo();
  assert.ok(info.version && info.uptimeSecs >= 0 && info.totalProcesses > 5 && info.runningProcesses >= 0);
});
await check("thirty at once, and each has its own answer", async () => {
  const results = await Promise.all(Array.from({ length: 30 }, (_, i) => words(box, `sleep 0.0${i % 10}; echo ${i}`)));
  assert.deepEqual(results, results.map((_, i) => String(i)));
});
await box.terminate();
report();
done();
