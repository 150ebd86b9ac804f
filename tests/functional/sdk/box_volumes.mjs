// File systems that outlive sandboxes.
import { CloudClient, Sandbox } from "tensorlake";
import { assert, bytes, client, report, say } from "./box_common.mjs";
import { check, done } from "./common.mjs";

const platform = new CloudClient({ organizationId: "org_glovebox", projectId: "project_glovebox" });
let shared;
await check("registered, listed, mounted at create, written by one and read by another", async () => {
  shared = await platform.createFileSystem({ name: "sdk-volume" });
  assert.ok(shared.id);
  assert.ok((await platform.listFileSystems()).some((f) => f.id === shared.id));
  const one = await Sandbox.create({ fileSystems: [{ fileSystemId: shared.id, mountPath: "/mnt/shared" }] });
  assert.deepEqual((await one.listFileSystems()).map((f) => [f.fileSystemId, f.mountPath]), [[shared.id, "/mnt/shared"]]);
  await one.writeFile("/mnt/shared/note", bytes("kept"));
  await one.terminate();
  const two = await Sandbox.create({ fileSystems: [{ fileSystemId: shared.id, mountPath: "/mnt/again" }] });
  assert.equal(say(await two.readFile("/mnt/again/note")), "kept");
  await two.terminate();
});
await check("attached to a running one and detached", async () => {
  const box = await Sandbox.create();
  await box.attachFileSystem(shared.id, "/mnt/live");
  await client.attachFileSystem(box.sandboxId, shared.id, "/mnt/live2");
  assert.equal(say(await box.readFile("/mnt/live/note")), "kept");
  assert.deepEqual((await box.listFileSystems()).map((f) => f.mountPath), ["/mnt/live", "/mnt/live2"]);
  await box.detachFileSystem("/mnt/live");
  await client.detachFileSystem(box.sandboxId, "/mnt/live2");
  assert.equal((await box.listFileSystems()).length, 0);
  await assert.rejects(box.readFile("/mnt/live/note"));
  await box.terminate();
});
await check("deleted once nothing has it", async () => {
  await platform.deleteFileSystem(shared.id);
  assert.ok(!(await platform.listFileSystems()).some((f) => f.id === shared.id));
});
report();
done();
