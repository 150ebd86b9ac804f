// Memory stores and skills through the SDK, and a session that uses both, served by the official worker. It mounts stores at /mnt/memory:
// the test gives it a /mnt of its own.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import fs from "node:fs";
import Anthropic, { BadRequestError, ConflictError, NotFoundError, PermissionDeniedError, toFile } from "@anthropic-ai/sdk";
import { EnvironmentWorker } from "@anthropic-ai/sdk/helpers/beta/environments";
import { check, done, eventually, plain, text } from "./common.mjs";

const client = new Anthropic();
const { beta } = client;
const { memories, memoryVersions } = beta.memoryStores;
const environmentId = process.env.TEST_ENVIRONMENT_ID, environmentKey = process.env.TEST_ENVIRONMENT_KEY;
const collect = async (pages) => { const all = []; for await (const one of pages) all.push(one); return all; };
const sha256 = (words) => crypto.createHash("sha256").update(words).digest("hex");
const is = (kind, type) => (error) => error instanceof kind && error.error?.error?.type === type;

let store;
await check("memory stores: create, retrieve, update, list, archive, delete", async () => {
  store = await beta.memoryStores.create({ name: "Pers. notes", description: "what the user likes", metadata: { a: "b" } });
  assert.deepEqual([store.type, store.name, store.archived_at], ["memory_store", "Pers. notes", null]);
  assert.equal((await beta.memoryStores.update(store.id, { description: "likes" })).description, "likes");
  assert.deepEqual((await beta.memoryStores.retrieve(store.id)).metadata, { a: "b" });
  const other = await beta.memoryStores.create({ name: "other" });
  assert.deepEqual((await collect(beta.memoryStores.list({ limit: 1 }))).map((s) => s.id), [other.id, store.id]);
  assert.ok((await beta.memoryStores.archive(other.id)).archived_at);
  await assert.rejects(memories.create(other.id, { path: "/a", content: "x" }), BadRequestError);
  assert.deepEqual(await beta.memoryStores.delete(other.id), { id: other.id, type: "memory_store_deleted" });
  await assert.rejects(beta.memoryStores.retrieve(other.id), NotFoundError);
});
await check("memories: create, retrieve, update with a precondition, list, delete; both conflicts", async () => {
  const at = { memory_store_id: store.id };
  const one = await memories.create(store.id, { path: "/notes/a.md", content: "grüezi", view: "full" });
  assert.deepEqual([one.content, one.content_sha256, one.content_size_bytes], ["grüezi", sha256("grüezi"), 7]);
  const changed = await memories.update(one.id, { ...at, content: "salü", precondition: { type: "content_sha256", content_sha256: one.content_sha256 } });
  assert.equal(changed.content_sha256, sha256("salü"));
  await assert.rejects(memories.update(one.id, { ...at, content: "no", precondition: { type: "content_sha256", content_sha256: one.content_sha256 } }),
    is(ConflictError, "memory_precondition_failed_error"));
  await assert.rejects(memories.create(store.id, { path: "/notes", content: "" }), (error) =>
    is(ConflictError, "memory_path_conflict_error")(error) && error.error.error.conflicting_memory_id === one.id);
  assert.equal((await memories.retrieve(one.id, at)).content, "salü");
  for (let i = 0; i < 5; i++) await memories.create(store.id, { path: `/many/${i}`, content: `${i}` });
  const all = await collect(memories.list(store.id, { limit: 2, view: "full" }));
  assert.deepEqual(all.map((m) => [m.path, m.content]), [...[0, 1, 2, 3, 4].map((i) => [`/many/${i}`, `${i}`]), ["/notes/a.md", "salü"]]);
  const level = await collect(memories.list(store.id, { depth: 1, limit: 1 }));
  assert.deepEqual(level.map((m) => [m.type, m.path]), [["memory_prefix", "/many/"], ["memory_prefix", "/notes/"]]);
  for (const { id, content_sha256 } of all.slice(0, 5))
    assert.deepEqual(await memories.delete(id, { ...at, expected_content_sha256: content_sha256 }), { id, type: "memory_deleted" });
  const versions = await collect(memoryVersions.list(store.id, { memory_id: one.id }));
  assert.deepEqual(versions.map((v) => v.operation), ["modified", "created"]);
  assert.equal((await memoryVersions.retrieve(versions[1].id, at)).content, "grüezi");
  const redacted = await memoryVersions.redact(versions[1].id, at);
  assert.deepEqual([redacted.content, redacted.path, !!redacted.redacted_at], [null, null, true]);
});

const skillMd = (description) => `---\nname: sdk-skill\ndescription: ${description}\n---\nRun ./run.\n`;
const files = async (description) => [
  await toFile(Buffer.from(skillMd(description)), "any-folder/SKILL.md"), await toFile(Buffer.from("#!/bin/sh\necho the skill ran\n"), "any-folder/bin/run"),
];
let skill;
await check("skills: create from files, retrieve, versions, list, delete, content", async () => {
  skill = await client.skills.create({ files: await files("First."), display_name: "SDK skill" });
  assert.deepEqual([skill.type, skill.display_name, skill.source.type], ["skill", "SDK skill", "custom"]);
  const second = await client.skills.versions.create(skill.id, { files: await files("Says that it ran.") });
  assert.deepEqual([second.name, second.description, second.skill_id], ["sdk-skill", "Says that it ran.", skill.id]);
  assert.equal((await client.skills.retrieve(skill.id)).latest_version_id, second.id);
  assert.equal((await client.skills.versions.retrieve("latest", { skill_id: skill.id })).id, second.id);
  assert.deepEqual((await collect(client.skills.versions.list(skill.id, { limit: 1 }))).map((v) => v.id), [second.id, skill.latest_version_id]);
  assert.deepEqual(await client.skills.versions.delete(skill.latest_version_id, { skill_id: skill.id }), { id: skill.latest_version_id, type: "skill_version_deleted" });
  assert.deepEqual((await collect(client.skills.list())).map((s) => s.id), [skill.id]);
  const zip = Buffer.from(await (await beta.skills.versions.download(second.id, { skill_id: skill.id })).arrayBuffer());
  assert.equal(zip.subarray(0, 4).toString("latin1"), "PK\x03\x04");
  fs.writeFileSync(`${process.env.TEST_WORKDIR}/skill.zip`, zip);
  const again = await client.skills.versions.create(skill.id, { files: [await toFile(zip, "skill.zip")] });
  assert.equal(again.description, second.description);
  assert.deepEqual(Buffer.from(await (await beta.skills.versions.download(again.id, { skill_id: skill.id })).arrayBuffer()), zip);
  await assert.rejects(client.skills.create({ files: await files("Again.") }), (e) => e instanceof ConflictError && e.errorCode === "skill_name_taken");
  await assert.rejects(client.skills.create({ files: [await toFile(Buffer.from("x"), "a/x")] }), BadRequestError);
});
await check("files: upload, metadata, list, download, delete", async () => {
  const bytes = Buffer.from([0, 13, 10, 255, 45, 45]);
  const file = await client.files.upload({ file: await toFile(bytes, "a note.bin", { type: "application/x-note" }), expires_in_seconds: 3600 });
  assert.deepEqual([file.type, file.filename, file.mime_type, file.size_bytes, file.downloadable], ["file", "a note.bin", "application/x-note", 6, true]);
  assert.ok(file.expires_at > file.created_at);
  assert.deepEqual(await client.files.retrieveMetadata(file.id), file);
  const other = await client.files.upload({ file: await toFile(Buffer.from("x"), "x.txt") });
  assert.deepEqual((await collect(client.files.list({ limit: 1 }))).map((f) => f.id), [other.id, file.id]);
  assert.deepEqual((await collect(client.files.list({ ids: [file.id, "file_none"] }))).map((f) => f.id), [file.id]);
  assert.deepEqual(Buffer.from(await (await client.files.download(file.id)).arrayBuffer()), bytes);
  assert.deepEqual(await client.files.delete(file.id), { id: file.id, type: "file_deleted" });
  await assert.rejects(client.files.retrieveMetadata(file.id), NotFoundError);
  await assert.rejects(client.files.upload({ file: await toFile(Buffer.from("x"), "x"), expires_in_seconds: 1 }), BadRequestError);
});
await check("credentials: an environment's key sees skills and no memory", async () => {
  const worker = new Anthropic({ apiKey: null, authToken: environmentKey });
  assert.equal((await worker.skills.versions.retrieve("latest", { skill_id: skill.id })).name, "sdk-skill");
  await assert.rejects(worker.skills.list(), PermissionDeniedError);
  await assert.rejects(worker.beta.memoryStores.memories.list(store.id), PermissionDeniedError);
});
await check("a session with both, served by the official worker: the skill runs, what the agent notes is kept", async () => {
  const agent = await beta.agents.create({
    name: "stores", model: "claude-test-1", tools: [{ type: "agent_toolset_20260401" }], skills: [{ type: "custom", skill_id: skill.id }],
  });
  assert.deepEqual(agent.skills, [{ type: "custom", skill_id: skill.id, version: "latest" }]);
  const session = await beta.sessions.create({
    agent: agent.id, environment_id: environmentId, initial_events: [{ type: "user.message", content: text("case:stores") }],
    resources: [{ type: "memory_store", memory_store_id: store.id, instructions: "look before you leap" }],
  });
  const [resource] = session.resources;
  assert.deepEqual([resource.mount_path, resource.access, resource.name], ["/mnt/memory/pers-notes", "read_write", "Pers. notes"]);
  assert.deepEqual((await collect(beta.sessions.list({ memory_store_id: store.id }))).map((s) => s.id), [session.id]);
  const stop = new AbortController();
  const worker = new EnvironmentWorker({
    client: new Anthropic({ apiKey: null, authToken: environmentKey }), environmentId, environmentKey,
    workdir: `${process.env.TEST_WORKDIR}/w`, maxIdleMs: 300, workerId: "w",
  }).run(stop.signal).catch((error) => { if (!stop.signal.aborted) throw error; });
  try {
    const noted = await eventually(async () => (await collect(memories.list(store.id, { view: "full" }))).find((m) => m.path === "/learnt.md"), "the note is kept", 60_000);
    assert.equal(noted.content, "something new\n");
    const [version] = await collect(memoryVersions.list(store.id, { memory_id: noted.id }));
    assert.deepEqual(version.created_by, { type: "session_actor", session_id: session.id });
    await eventually(async () => (await beta.sessions.retrieve(session.id)).status === "idle", "idle", 60_000);
    const results = (await collect(beta.sessions.events.list(session.id))).filter((e) => e.type === "user.tool_result");
    assert.deepEqual(results.map((e) => [plain(e).trim(), e.is_error]), [["the skill ran\nsalü", false], ["noted", false]]);
    await eventually(async () => (await collect(beta.environments.work.list(environmentId))).every((w) => w.state === "stopped"), "every item stopped", 30_000);
  } finally {
    stop.abort();
    await worker;
  }
  assert.ok(!fs.existsSync(resource.mount_path));
}, 150_000);
done();
