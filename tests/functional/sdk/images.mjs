// Images as a user of the SDK has them built: a builder sandbox is made, the context goes into it, a template comes out and is used.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Image, Sandbox } from "tensorlake";

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

  const broken = new Image({ name: "sdk-broken", baseImage: process.env.BASE_IMAGE }).run("echo about to fail; exit 3");
  await assert.rejects(broken.build({ contextDir: folder }), (error) => (console.log("refused:", error.message.slice(0, 300)), true));
  console.log("done");
} finally {
  rmSync(folder, { recursive: true });
}
