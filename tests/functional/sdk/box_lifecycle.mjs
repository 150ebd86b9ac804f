// Sandboxes from create to archive, through Sandbox and SandboxClient alike.
import { Sandbox, SandboxClient, SandboxNotFoundError } from "tensorlake";
import { assert, client, image, refused, report, words } from "./box_common.mjs";
import { check, done, eventually } from "./common.mjs";

const live = [];
await check("create with the official suite's members; the record echoes them; it is listed first", async () => {
  const made = await client.create({ image, cpus: 1.0, memoryMb: 1024, diskMb: 10240, entrypoint: ["sleep", "300"] });
  live.push(made.sandboxId);
  assert.ok(["pending", "running", "terminated"].includes(made.status));
  assert.ok(made.sandboxUrl);
  const info = await eventually(async () => { const i = await client.get(made.sandboxId); return i.status !== "pending" && i; }, "it leaves pending");
  assert.deepEqual([info.sandboxId, info.status, info.image, info.entrypoint, info.namespace], [made.sandboxId, "running", image, ["sleep", "300"], "default"]);
  assert.deepEqual([info.resources.cpus, info.resources.memoryMb, info.resources.ephemeralDiskMb], [1, 1024, 10240]);
  assert.ok(Math.abs(Date.now() - info.createdAt.getTime()) < 600_000);
  assert.ok(info.traceId);
  const list = await client.list();
  assert.equal(list[0].sandboxId, made.sandboxId);
  assert.ok((await Sandbox.list()).some((one) => one.sandboxId === made.sandboxId));
});
await check("delete: GET still answers, terminated; again is no error; it is archived", async () => {
  const [id] = live.splice(0, 1);
  await client.delete(id);
  const info = await eventually(async () => { const i = await client.get(id); return i.status === "terminated" && i; }, "terminated", 30_000);
  assert.ok(info.terminatedAt instanceof Date);
  await client.delete(id);
  const archived = await client.getArchived(id);
  assert.deepEqual([archived.sandboxId, archived.status], [id, "terminated"]);
  assert.ok(archived.archivedAt instanceof Date);
  const page = await client.listArchived({ limit: 1 });
  assert.equal(page.sandboxes.length, 1);
  assert.equal(page.sandboxes[0].sandboxId, id);
  assert.deepEqual((await client.getLogs(id)).logs, []);
});
await check("what is unknown is SandboxNotFoundError, everywhere", async () => {
  const id = "nonexistent-sandbox-id-000";
  await assert.rejects(client.get(id), SandboxNotFoundError);
  await assert.rejects(client.delete(id), SandboxNotFoundError);
  await assert.rejects(client.update(id, { name: "x-y" }), SandboxNotFoundError);
  await assert.rejects(client.getArchived(id), SandboxNotFoundError);
  await assert.rejects(client.suspend(id), SandboxNotFoundError);
  await assert.rejects(client.resume(id), SandboxNotFoundError);
  await assert.rejects(client.getLogs(id), SandboxNotFoundError);
  await assert.rejects(client.listLogProcesses(id), SandboxNotFoundError);
  await assert.rejects(client.snapshot(id), SandboxNotFoundError);
  await assert.rejects(client.copy(id), SandboxNotFoundError);
});
let box;
await check("createAndConnect and connect, by id and by name; the handle knows the canonical id", async () => {
  box = await client.createAndConnect({ name: "sdk-life", timeoutSecs: 600 });
  assert.equal(box.name, "sdk-life");
  assert.match(box.sandboxId, /^[a-z0-9]{21}$/);
  const byName = await Sandbox.connect({ sandboxId: "sdk-life" });
  assert.equal(await words(byName, "echo by name"), "by name");
  assert.equal((await byName.info()).sandboxId, box.sandboxId);
  const handle = client.connect(box.sandboxId);
  assert.equal(await words(handle, "echo by id"), "by id");
  byName.close();
  handle.close();
});
await check("a name is taken once while it lives, and free again afterwards", async () => {
  await refused(client.create({ name: "sdk-life" }), 409);
  const other = await Sandbox.create({ name: "sdk-again" });
  await other.terminate();
  const again = await Sandbox.create({ name: "sdk-again" });
  assert.notEqual(again.sandboxId, other.sandboxId);
  assert.equal((await client.get("sdk-again")).sandboxId, again.sandboxId);
  await again.terminate();
});
await check("update: a name, ports, access; the port settings of the client", async () => {
  let info = await box.update({ name: "sdk-renamed", exposedPorts: [8080], allowUnauthenticatedAccess: true });
  assert.deepEqual([info.name, info.exposedPorts, info.allowUnauthenticatedAccess], ["sdk-renamed", [8080], true]);
  info = await client.update("sdk-renamed", { exposedPorts: [] });
  assert.deepEqual(info.exposedPorts ?? [], []);
  info = await client.exposePorts(box.sandboxId, [3000, 3001], { allowUnauthenticatedAccess: true });
  assert.deepEqual([...info.exposedPorts].sort(), [3000, 3001]);
  const access = await client.getPortAccess(box.sandboxId);
  assert.deepEqual([access.allowUnauthenticatedAccess, [...access.exposedPorts].sort()], [true, [3000, 3001]]);
  info = await client.unexposePorts(box.sandboxId, [3000, 3001]);
  assert.deepEqual([info.exposedPorts ?? [], info.allowUnauthenticatedAccess ?? false], [[], false]);
  await assert.rejects(client.exposePorts(box.sandboxId, [9501]));
  await assert.rejects(client.update(box.sandboxId, {}));
});
await check("suspend and resume by name; any operation wakes; an unnamed one is refused", async () => {
  await box.suspend();
  assert.equal(await box.status(), "suspended");
  await box.resume();
  assert.equal(await box.status(), "running");
  await client.suspend("sdk-renamed");
  assert.equal(await words(box, "echo awake"), "awake");
  assert.equal(await box.status(), "running");
  await client.suspend(box.sandboxId, { wait: false });
  await client.resume(box.sandboxId);
  const unnamed = await Sandbox.create();
  await refused(client.suspend(unnamed.sandboxId), 400);
  await unnamed.terminate();
});
await check("twelve at once: created, used, terminated", async () => {
  const boxes = await Promise.all(Array.from({ length: 12 }, () => Sandbox.create({ memoryMb: 256 })));
  assert.deepEqual(await Promise.all(boxes.map((b, i) => words(b, `echo ${i}`))), boxes.map((_, i) => String(i)));
  await Promise.all(boxes.map((b) => b.terminate()));
});
await check("clients made for the cloud and for localhost; a wrong key is told; close", async () => {
  const key = process.env.TENSORLAKE_API_KEY, apiUrl = process.env.TENSORLAKE_API_URL;
  const slash = new SandboxClient({ apiUrl: apiUrl + "/" }, true);  // gives //v1/…
  assert.ok((await slash.list()).length > 0);
  const cloud = SandboxClient.forCloud({ apiUrl, apiKey: key });
  assert.ok((await cloud.list()).length > 0);
  cloud.close();
  const local = SandboxClient.forLocalhost({ apiUrl, namespace: "another" });
  assert.ok((await local.list()).every((one) => one.namespace === "another"));
  local.close();
  await refused(new SandboxClient({ apiKey: "wrong" }, true).list(), 401);
  const other = new SandboxClient({ namespace: "another" }, true);
  assert.equal((await other.get(box.sandboxId)).namespace, "another");
});
await check("the data plane of a sandbox that has ended does not answer as if it were there", async () => {
  await box.terminate();
  await assert.rejects(box.readFile("/etc/hostname"));
});
report();
done();
