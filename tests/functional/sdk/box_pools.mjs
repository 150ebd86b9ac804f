// Pools of sandboxes made ahead, with the behaviour the documentation and the service's own tests ask for.
import { PoolInUseError, PoolNotFoundError, Sandbox } from "tensorlake";
import { assert, client, image, report, say, words } from "./box_common.mjs";
import { check, done, eventually } from "./common.mjs";

const base = { image, cpus: 1.0, memoryMb: 1024, ephemeralDiskMb: 1024, entrypoint: ["sleep", "300"] };
const warm = (pool) => (pool.containers ?? []).filter((c) => !c.sandboxId);
const settled = (id, count) => eventually(async () => { const p = await client.getPool(id); return warm(p).length === count && p; }, `${count} warm`, 60_000);

await check("create, get, list, update, delete; 404 afterwards", async () => {
  const { poolId, namespace } = await client.createPool({ ...base, maxContainers: 5, warmContainers: 0, timeoutSecs: 300 });
  assert.ok(poolId && namespace);
  const pool = await client.getPool(poolId);
  assert.deepEqual([pool.poolId, pool.image, pool.maxContainers, pool.warmContainers, pool.timeoutSecs], [poolId, image, 5, 0, 300]);
  assert.deepEqual([pool.resources.cpus, pool.resources.memoryMb, pool.resources.ephemeralDiskMb], [1, 1024, 1024]);
  assert.ok((await client.listPools()).some((p) => p.poolId === poolId));
  const after = await client.updatePool(poolId, { ...base, maxContainers: 7 });
  assert.equal(after.maxContainers, 7);
  assert.equal((await client.getPool(poolId)).maxContainers, 7);
  await client.deletePool(poolId);
  await assert.rejects(client.getPool(poolId), PoolNotFoundError);
  await assert.rejects(client.deletePool(poolId), PoolNotFoundError);
  await assert.rejects(client.updatePool(poolId, base), PoolNotFoundError);
  await assert.rejects(client.claim(poolId), (e) => /404|not found|no .*pool/i.test(e.message) || e instanceof PoolNotFoundError);
});
await check("a claimed sandbox is one of the warm ones; it is replaced, never beyond the maximum", async () => {
  const { poolId } = await client.createPool({ ...base, maxContainers: 2, warmContainers: 1 });
  const before = await settled(poolId, 1);
  assert.equal(before.containers.length, 1);
  assert.deepEqual([before.containers[0].state, typeof before.containers[0].executorId], ["Idle", "string"]);
  const claimed = await client.claim(poolId);
  assert.equal(claimed.status, "running");
  const held = await eventually(async () => (await client.getPool(poolId)).containers.find((c) => c.sandboxId === claimed.sandboxId), "it is marked");
  assert.equal(held.id, before.containers[0].id);
  assert.equal(held.state, "Running");
  assert.equal((await client.get(claimed.sandboxId)).poolId, poolId);
  assert.equal(await words(client.connect(claimed.sandboxId), "echo claimed"), "claimed");
  await settled(poolId, 1);
  const second = await client.claim(poolId);
  assert.notEqual(second.sandboxId, claimed.sandboxId);
  assert.equal(warm(await client.getPool(poolId)).length, 0);
  await assert.rejects(client.deletePool(poolId), PoolInUseError);
  await client.delete(claimed.sandboxId);
  await eventually(async () => !(await client.getPool(poolId)).containers.some((c) => c.sandboxId === claimed.sandboxId), "it is gone", 30_000);
  await settled(poolId, 1);
  await client.delete(second.sandboxId);
  await eventually(async () => (await client.deletePool(poolId).then(() => true, () => false)), "deleted", 30_000);
});
await check("the official suite's commands, in a claimed sandbox", async () => {
  const { poolId } = await client.createPool({ ...base, warmContainers: 1, timeoutSecs: 300 });
  const box = await Sandbox.create({ poolId });
  const ran = await box.run("echo", { args: ["hello"] });
  assert.deepEqual([ran.exitCode, ran.stdout.trim()], [0, "hello"]);
  assert.equal((await box.run("sh", { args: ["-c", "echo $A; pwd"], env: { A: "b" }, workingDir: "/tmp" })).stdout.trim(), "b\n/tmp");
  assert.equal((await box.run("sh", { args: ["-c", "echo e >&2; exit 42"] })).exitCode, 42);
  await box.writeFile("/tmp/f.txt", new TextEncoder().encode("x"));
  assert.equal(say(await box.readFile("/tmp/f.txt")), "x");
  assert.ok((await box.listDirectory("/tmp")).entries.some((e) => e.name === "f.txt"));
  await box.deleteFile("/tmp/f.txt");
  const p = await box.startProcess("sleep", { args: ["60"] });
  assert.ok((await box.listProcesses()).some((one) => one.pid === p.pid));
  await box.killProcess(p.pid);
  assert.equal((await box.health()).healthy, true);
  assert.ok((await box.daemonInfo()).version);
  await box.terminate();
  await eventually(async () => (await client.deletePool(poolId).then(() => true, () => false)), "deleted", 30_000);
});
report();
done();
