// What people do with the SDK across its methods: streams that are left lying, whole rounds of a sandbox's life, other ways in.
import { Sandbox, SandboxClient } from "tensorlake";
import { assert, bytes, client, report, say, words } from "./box_common.mjs";
import { check, done, eventually, sleep } from "./common.mjs";

const url = process.env.TENSORLAKE_API_URL, key = process.env.TENSORLAKE_API_KEY;
const ticking = (box) => box.startProcess("/bin/bash", { args: ["-c", "for ((i = 1; ; i++)); do echo $i; sleep 0.05; done"] });
const heard = async (box, pid) => (await box.getStdout(pid)).lines.length;

await check("a stream that was left (the library keeps its request open) does not keep a sandbox from being suspended", async () => {
  const box = await Sandbox.create({ name: "left-streams" });
  const { pid } = await ticking(box);
  let seen = 0;
  for await (const _ of box.followOutput(pid)) if (++seen === 3) break;
  const abort = new AbortController();
  for await (const _ of box.followStdout(pid, { signal: abort.signal })) { abort.abort(); break; }
  await box.suspend();
  assert.equal(await box.status(), "suspended");
  await box.resume();
  const had = await heard(box, pid);
  await eventually(async () => (await heard(box, pid)) > had, "it ticks on");
  await box.terminate();
});
await check("who follows through a suspension misses nothing that is said after it", async () => {
  const box = await Sandbox.create({ name: "followed" });
  const { pid } = await ticking(box);
  const lines = [];
  let over = false;
  const all = (async () => { for await (const { line } of box.followStdout(pid)) lines.push(Number(line)); over = true; })();
  await eventually(() => lines.length > 2, "lines");
  await box.suspend();
  const had = lines.length;
  await box.resume();
  await eventually(() => lines.length > had + 3, "more lines");
  assert.equal(over, false);
  await box.killProcess(pid);
  await all;
  assert.deepEqual(lines, lines.map((_, i) => i + 1));
  await box.terminate();
});
await check("the terminal of a sandbox that ends says that the session is terminated", async () => {
  const box = await Sandbox.create();
  const pty = await box.createPty({ command: "cat" });
  const end = pty.wait().then(() => "exited", (error) => error.message);
  await box.terminate();
  assert.equal(await end, "PTY session terminated");
});
await check("a completed snapshot says where it is kept; forks of it, at once, and forks of a fork, are each their own", async () => {
  const box = await Sandbox.create();
  await box.writeFile("/srv/generation", bytes("0"));
  const kept = await box.checkpoint({ waitUntil: "completed", pollInterval: 0.1 });
  assert.deepEqual([typeof kept.snapshotUri, kept.snapshotUri.length > 0, typeof kept.snapshotFormatVersion], ["string", true, "string"]);
  const forks = await Promise.all([1, 2, 3, 4].map((n) => Sandbox.create({ snapshotId: kept.snapshotId, name: `fork-${n}`, memoryMb: 256 })));
  await Promise.all(forks.map((fork, i) => fork.writeFile("/srv/generation", bytes(`1.${i}`))));
  const second = await forks[2].checkpoint();
  const child = await Sandbox.create({ snapshotId: second.snapshotId });
  assert.equal(say(await child.readFile("/srv/generation")), "1.2");
  assert.deepEqual(await Promise.all(forks.map(async (fork) => say(await fork.readFile("/srv/generation")))), ["1.0", "1.1", "1.2", "1.3"]);
  assert.equal(say(await box.readFile("/srv/generation")), "0");
  assert.deepEqual((await box.listSnapshots()).map((s) => s.snapshotId), [kept.snapshotId]);
  await Promise.all([box, child, ...forks].map((one) => one.terminate()));
  for (const { snapshotId } of [kept, second]) await Sandbox.deleteSnapshot(snapshotId);
});
await check("one round: made, written, run, followed, killed, named, suspended, restored, copied, ended", async () => {
  const box = await Sandbox.create({ entrypoint: ["sleep", "300"] });
  await box.writeFile("/srv/app/main.sh", bytes("#!/bin/sh\necho started $1\nexec sleep 300\n"));
  await box.run("chmod", { args: ["+x", "/srv/app/main.sh"] });
  const app = await box.startProcess("/srv/app/main.sh", { args: ["it"], workingDir: "/srv/app" });
  for await (const { line } of box.followStdout(app.pid)) { assert.equal(line, "started it"); break; }
  await box.update({ name: "round" });
  await box.suspend();
  assert.equal((await Sandbox.connect({ sandboxId: "round" })).sandboxId, "round");
  await box.resume();
  await box.killProcess(app.pid);
  await eventually(async () => (await box.getProcess(app.pid)).status === "signaled", "it is killed");
  const kept = await box.checkpoint();
  const back = await Sandbox.create({ snapshotId: kept.snapshotId });
  assert.equal(await words(back, "ls /srv/app"), "main.sh");
  const [copy] = (await back.copy()).sandboxes;
  assert.equal(await words(await Sandbox.connect({ sandboxId: copy.sandboxId }), "/bin/sh -c 'cat /srv/app/main.sh' | wc -l"), "3");
  await client.delete(copy.sandboxId);
  await back.terminate();
  await box.terminate();
  await back.terminate();  // a second time it is nothing
  await Sandbox.deleteSnapshot(kept.snapshotId);
});
await check("other ways in: localhost, an explicit proxy, a handle of one's own, the other loopback address", async () => {
  const local = new SandboxClient({ apiUrl: url.replace("127.0.0.1", "localhost") }, true);
  const box = await local.createAndConnect({ name: "ways" });
  assert.equal(new URL((await box.info()).sandboxUrl).hostname, "localhost");
  const ways = [box, await Sandbox.connect({ sandboxId: "ways" }), await Sandbox.connect({ sandboxId: "ways", proxyUrl: url }),
                ...[url, url.replace("127.0.0.1", "127.0.0.2"), `${url}/s/${box.sandboxId}`].map((proxyUrl) => new Sandbox({ sandboxId: box.sandboxId, proxyUrl, apiKey: key }))];
  for (const way of ways) {
    assert.equal(await words(way, "echo in"), "in");
    const pty = await way.createPty({ command: "sh", args: ["-c", "exit 3"] });
    assert.equal(await pty.wait(), 3);
  }
  await box.terminate();
});
await check("a request's time-out ends the command and not the sandbox", async () => {
  const box = await Sandbox.create({ requestTimeout: 3 });
  await assert.rejects(box.run("sleep", { args: ["300.25"] }));
  await eventually(async () => (await words(box, "pgrep -f '^sleep 300[.]25' || echo none")) === "none", "the command is gone");
  await box.terminate();
});
await check("a claim beyond a pool's maximum waits for a place and gets it", async () => {
  const { poolId } = await client.createPool({ image: "tensorlake/ubuntu-minimal", maxContainers: 2, warmContainers: 1 });
  const [one, two] = await Promise.all([Sandbox.create({ poolId }), Sandbox.create({ poolId })]);
  assert.notEqual(one.sandboxId, two.sandboxId);
  let third;
  const waiting = Sandbox.create({ poolId }).then((box) => (third = box));
  await sleep(300);
  assert.equal(third, undefined);
  await one.terminate();
  await waiting;
  assert.equal(await words(third, "echo third"), "third");
  await Promise.all([two.terminate(), third.terminate()]);
  await eventually(() => client.deletePool(poolId).then(() => true, () => false), "the pool is deleted", 30_000);
});
await check("the archive page by page, forwards and back", async () => {
  const seen = [];
  let page = await client.listArchived({ limit: 4 });
  const first = page.sandboxes.map((one) => one.sandboxId);
  assert.equal(page.prevCursor ?? null, null);
  for (let pages = 1; ; pages++) {
    seen.push(...page.sandboxes.map((one) => one.sandboxId));
    if (!page.nextCursor) break;
    assert.ok(pages < 50);
    const next = await client.listArchived({ limit: 4, cursor: page.nextCursor, direction: "forward" });
    if (pages === 1) {
      const back = await client.listArchived({ limit: 4, cursor: next.prevCursor, direction: "backward" });
      assert.deepEqual(back.sandboxes.map((one) => one.sandboxId), first);
    }
    page = next;
  }
  assert.ok(seen.length > 10);
  assert.equal(new Set(seen).size, seen.length);
});
report();
done();
