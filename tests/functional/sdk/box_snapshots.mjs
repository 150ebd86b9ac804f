// Checkpoints, restores, copies.
import { Sandbox } from "tensorlake";
import { assert, bytes, client, refused, report, say, words } from "./box_common.mjs";
import { check, done, eventually } from "./common.mjs";

const box = await Sandbox.create({ name: "sdk-snapshots" });
await box.writeFile("/workspace/note", bytes("first"));
let kept;
await check("checkpoint: waits until it can be restored; listed, looked up", async () => {
  kept = await box.checkpoint();
  assert.ok(["local_ready", "completed"].includes(kept.status));
  assert.equal(kept.sandboxId, box.sandboxId);
  assert.ok((await box.listSnapshots()).some((s) => s.snapshotId === kept.snapshotId));
  assert.ok((await Sandbox.listSnapshots()).some((s) => s.snapshotId === kept.snapshotId));
  assert.ok((await client.listSnapshots()).some((s) => s.snapshotId === kept.snapshotId));
  assert.equal((await Sandbox.getSnapshot(kept.snapshotId)).snapshotId, kept.snapshotId);
  assert.equal(await box.status(), "running");
});
await check("restored: its files as they were then, an id of its own", async () => {
  await box.writeFile("/workspace/note", bytes("second"));
  const [one, two] = await Promise.all([Sandbox.create({ snapshotId: kept.snapshotId }), Sandbox.create({ snapshotId: kept.snapshotId, name: "sdk-restored" })]);
  assert.notEqual(one.sandboxId, two.sandboxId);
  for (const each of [one, two]) assert.equal(say(await each.readFile("/workspace/note")), "first");
  await one.writeFile("/workspace/note", bytes("third"));
  assert.equal(say(await two.readFile("/workspace/note")), "first");
  assert.equal(say(await box.readFile("/workspace/note")), "second");
  await one.terminate();
  await two.terminate();
});
await check("snapshot, snapshotAndWait, until completed; of a kind that is not there", async () => {
  const begun = await client.snapshot(box.sandboxId, { snapshotType: "filesystem" });
  assert.ok(begun.snapshotId && begun.status);
  await eventually(async () => ["local_ready", "completed"].includes((await client.getSnapshot(begun.snapshotId)).status), "ready");
  const full = await client.snapshotAndWait(box.sandboxId, { waitUntil: "completed", pollInterval: 0.1 });
  assert.equal(full.status, "completed");
  assert.equal(await box.checkpoint({ wait: false }), undefined);
  await assert.rejects(client.snapshot(box.sandboxId, { snapshotType: "memory" }));
  await client.deleteSnapshot(begun.snapshotId);
  await client.deleteSnapshot(full.snapshotId);
});
await check("copy: running ones with the same files and ids of their own", async () => {
  const copied = await box.copy({ times: 3 });
  assert.equal(copied.sourceSandboxId, box.sandboxId);
  assert.deepEqual(copied.sandboxes.map((s) => s.status), ["running", "running", "running"]);
  assert.equal(new Set(copied.sandboxes.map((s) => s.sandboxId)).size, 3);
  for (const { sandboxId } of copied.sandboxes) {
    const child = client.connect(sandboxId);
    assert.equal(say(await child.readFile("/workspace/note")), "second");
    await client.delete(sandboxId);
  }
  const one = await client.copy(box.sandboxId);
  assert.equal(one.sandboxes.length, 1);
  await client.delete(one.sandboxes[0].sandboxId);
});
await check("a snapshot outlives its sandbox, and its deletion is its end", async () => {
  await box.terminate();
  const back = await Sandbox.create({ snapshotId: kept.snapshotId });
  assert.equal(await words(back, "cat /workspace/note"), "first");
  await back.terminate();
  await Sandbox.deleteSnapshot(kept.snapshotId);
  await assert.rejects(client.getSnapshot(kept.snapshotId));
  await assert.rejects(Sandbox.create({ snapshotId: kept.snapshotId }));
  await assert.rejects(client.deleteSnapshot("no-such-snapshot"));
});
for (const s of await client.listSnapshots()) await client.deleteSnapshot(s.snapshotId);
report();
done();
