// Images as a user of the SDK has them built: a builder sandbox is made, the context goes into it, a template comes out and is used.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CloudClient, Image, Sandbox, createSandboxImage, deleteSandboxImage, findSandboxImageByName, listSandboxImages } from "tensorlake";

const folder = mkdtempSync(join(tmpdir(), "glovebox-sdk-image-"));
try {
  writeFileSync(join(folder, "greeting.txt"), "from the context\n");
  const image = new Image({ name: "sdk-image", baseImage: process.env.BASE_IMAGE })
    .copy("greeting.txt", "/srv/greeting.txt")
    .env("MADE_BY", "the sdk")
    .workdir("/srv")
    .run("cat greeting.txt > copied.txt && echo \"run by $MADE_BY\" >> copied.txt");
  const events = [];
  const built = await image.build({ contextDir: folder, verbose: true });
  console.log("built", JSON.stringify(built), events.length);
  const sandbox = await Sandbox.create({ image: "sdk-image" });
  const ran = await sandbox.run("sh", { args: ["-c", "cat copied.txt; pwd; echo $MADE_BY"] });
  assert.equal(ran.stdout.trimEnd(), "from the context\nrun by the sdk\n/srv\nthe sdk");
  await sandbox.terminate();

  // With a key and nothing else a client learns where it is, and finds, lists and deletes images by the functions of the module.
  const { organizationId, projectId } = await new CloudClient().introspectApiKey();
  await assert.rejects(findSandboxImageByName("sdk-image"), /organization and project/);
  Object.assign(process.env, { TENSORLAKE_ORGANIZATION_ID: organizationId, TENSORLAKE_PROJECT_ID: projectId });
  writeFileSync(join(folder, "Dockerfile"), `FROM ${process.env.BASE_IMAGE}\nARG WHO=file\nENV A=1 B="two words"\nWORKDIR /opt/it\nCOPY greeting.txt .\nRUN echo "$A $B $WHO" > made\nUSER 1000\n`);
  const logged = [];
  await createSandboxImage(join(folder, "Dockerfile"), { registeredName: "team/from-file", diskMb: 4096, isPublic: true }, { emit: (event) => logged.push(event.type) });
  assert.ok(logged.includes("build_log") && logged.includes("status"), logged.join());
  const made = await findSandboxImageByName("team/from-file");
  assert.deepEqual([made.name, made.public, made.rootfsDiskBytes], ["team/from-file", true, 4096 * 1024 * 1024]);
  const usual = await findSandboxImageByName("sdk-image");
  assert.deepEqual([usual.public, usual.rootfsDiskBytes], [false, 10 * 1024 * 1024 * 1024]);
  assert.ok((await listSandboxImages()).some((one) => one.name === "team/from-file" && one.snapshotUri));
  const user = await Sandbox.create({ image: "team/from-file" });
  assert.equal((await user.run("sh", { args: ["-c", "cat made greeting.txt; pwd; id -u"] })).stdout.trimEnd(), "1 two words file\nfrom the context\n/opt/it\n1000");
  assert.equal((await user.info()).image, "team/from-file");
  await deleteSandboxImage("team/from-file");
  assert.equal(await findSandboxImageByName("team/from-file"), null);
  assert.equal((await user.run("cat", { args: ["made"] })).exitCode, 0);  // who has it keeps it
  await user.terminate();
  await assert.rejects(deleteSandboxImage("team/from-file"), (error) => error.statusCode === 404);
  await assert.rejects(Sandbox.create({ image: "team/from-file" }), (error) => error.statusCode === 400);

  const broken = new Image({ name: "sdk-broken", baseImage: process.env.BASE_IMAGE }).run("echo about to fail; exit 3");
  await assert.rejects(broken.build({ contextDir: folder }), (error) => (console.log("refused:", error.message.slice(0, 300)), true));
  console.log("done");
} finally {
  rmSync(folder, { recursive: true });
}
