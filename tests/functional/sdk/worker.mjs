// The official worker serves sessions of our brain, with its own tools in a directory of this machine. Nothing of ours executes here.
import assert from "node:assert/strict";
import fs from "node:fs";
import Anthropic from "@anthropic-ai/sdk";
import { EnvironmentWorker, WorkPoller } from "@anthropic-ai/sdk/helpers/beta/environments";
import { check, done, eventually, plain, sleep, text } from "./common.mjs";

const app = new Anthropic();
const { beta } = app;
const environmentId = process.env.TEST_ENVIRONMENT_ID, environmentKey = process.env.TEST_ENVIRONMENT_KEY;
const workdir = process.env.TEST_WORKDIR;
const collect = async (pages) => { const all = []; for await (const one of pages) all.push(one); return all; };
const message = (words) => ({ type: "user.message", content: text(words) });
const agent = await beta.agents.create({ name: "for workers", model: "claude-test-1", tools: [{ type: "agent_toolset_20260401" }] });
const start = (words) => beta.sessions.create({ agent: agent.id, environment_id: environmentId, initial_events: [message(words)] });
const workerClient = (seen = []) => new Anthropic({
  apiKey: null, authToken: environmentKey,
  fetch: async (...args) => { const answer = await fetch(...args); seen.push([args[1]?.method ?? "GET", new URL(args[0]?.url ?? args[0]).pathname, answer.status]); return answer; },
});
const ended = (id, limit = 60_000) => eventually(async () => {
  const [event] = (await beta.sessions.events.list(id, { order: "desc", limit: 1 })).data;
  return event?.type === "session.status_idle" && event.stop_reason.type !== "requires_action" && event;
}, `session ${id} ends`, limit);

await check("EnvironmentWorker serves several sessions to the end: all six tools", async () => {
  const sessions = [];
  for (let i = 0; i < 3; i++) sessions.push(await start("case:six"));
  const stop = new AbortController(), requests = [];
  const workers = [0, 1, 2].map((i) => {
    const own = `${workdir}/w${i}`;
    fs.mkdirSync(own, { recursive: true });
    return new EnvironmentWorker({ client: workerClient(requests), environmentId, environmentKey, workdir: own, maxIdleMs: 300, workerId: `w${i}` })
      .run(stop.signal).catch((error) => { if (!stop.signal.aborted) throw error; });
  });
  try {
    for (const session of sessions) {
      await ended(session.id);
      const events = await collect(beta.sessions.events.list(session.id));
      const calls = events.filter((e) => e.type === "agent.tool_use").map((e) => e.name);
      assert.deepEqual(calls, ["write", "read", "edit", "bash", "glob", "grep", "bash"]);
      const results = events.filter((e) => e.type === "user.tool_result");
      assert.equal(results.length, 7);
      assert.deepEqual(results.map((e) => e.is_error), [false, false, false, false, false, false, true]);
      assert.match(plain(results[3]), /ONE two/);
      assert.equal(plain(events.filter((e) => e.type === "agent.message").at(-1)), "six tools");
    }
    // They leave after their idle time, and the items are stopped: nothing waits any more.
    await eventually(async () => (await collect(beta.environments.work.list(environmentId))).every((w) => w.state === "stopped"), "every item stopped", 30_000);
    const refused = requests.filter(([, , status]) => status >= 400 && status !== 409);
    assert.deepEqual(refused, []);
    const stats = await beta.environments.work.stats(environmentId);
    assert.deepEqual([stats.depth, stats.pending], [0, 0]);
    assert.ok(stats.workers_polling >= 1);
  } finally {
    stop.abort();
    await Promise.all(workers);
  }
}, 110_000);
await check("WorkPoller: drain ends at an empty queue; a claimed item is handled by handleItem with its secret alone", async () => {
  const session = await start("case:short");
  // The last poll of a worker that has just gone may have taken it along: such an item is claimed again after a while.
  const drain = () => new WorkPoller({ client: workerClient(), environmentId, environmentKey, autoStop: false, drain: true, blockMs: 500, reclaimOlderThanMs: 1000, workerId: "poller" });
  let items = 0;
  for (const deadline = Date.now() + 30_000; items === 0 && Date.now() < deadline; ) for await (const work of drain()) {
    items++;
    assert.equal(work.data.id, session.id);
    const worker = new EnvironmentWorker({ client: new Anthropic({ apiKey: null, authToken: "unused" }), workdir, maxIdleMs: 200 });
    await worker.handleItem({ workId: work.id, environmentId: work.environment_id, sessionId: work.data.id, workSecret: work.secret });
    assert.equal((await beta.environments.work.retrieve(work.id, { environment_id: environmentId })).state, "stopped");
  }
  assert.equal(items, 1);
  assert.equal((await beta.sessions.retrieve(session.id)).status, "idle");
});
await check("SessionToolRunner: an application runs the calls itself, with its own tools", async () => {
  const session = await start("case:short");
  const calls = [];
  const bash = { name: "bash", type: "custom", input_schema: { type: "object" }, parse: (x) => x, run: async (input) => { calls.push(input.command); return "by the application"; } };
  const runner = beta.sessions.events.toolRunner(session.id, { tools: [bash], maxIdleMs: 200 });
  for await (const call of runner) assert.equal(call.posted, true);
  assert.deepEqual(calls, ["echo short"]);
  const events = await collect(beta.sessions.events.list(session.id));
  assert.equal(plain(events.find((e) => e.type === "user.tool_result")), "by the application");
  for await (const item of beta.environments.work.list(environmentId)) // nobody claimed it: it would be the next worker's first
    if (item.state !== "stopped") await beta.environments.work.stop(item.id, { environment_id: environmentId, force: true });
});
await check("archive while a worker serves: it leaves", async () => {
  const session = await start("case:long");
  const stop = new AbortController();
  const running = new EnvironmentWorker({ client: workerClient(), environmentId, environmentKey, workdir, maxIdleMs: 60_000, workerId: "served" })
    .run(stop.signal).catch(() => {});
  try {
    await eventually(async () => (await collect(beta.environments.work.list(environmentId))).some((w) => w.data.id === session.id && w.state === "active"), "the item is held");
    await eventually(async () => (await collect(beta.sessions.events.list(session.id))).some((e) => e.type === "agent.tool_use"), "a call");
    await beta.sessions.events.send(session.id, { events: [{ type: "user.interrupt" }] });
    await ended(session.id);
    await beta.sessions.archive(session.id);
    await eventually(async () => (await collect(beta.environments.work.list(environmentId))).every((w) => w.state === "stopped"), "the item is stopped", 50_000);
  } finally {
    stop.abort();
    await running;
  }
}, 70_000);
await check("a session of before is served again: the history is replayed, nothing runs twice", async () => {
  const log = `${workdir}/appended`;
  const session = await start("case:append");
  for (let round = 0; round < 2; round++) {
    const stop = new AbortController();
    const running = new EnvironmentWorker({ client: workerClient(), environmentId, environmentKey, workdir, maxIdleMs: 200, workerId: `r${round}` })
      .run(stop.signal).catch(() => {});
    await ended(session.id);
    await eventually(async () => (await collect(beta.environments.work.list(environmentId))).every((w) => w.state === "stopped"), "stopped", 20_000);
    stop.abort();
    await running;
    assert.equal(fs.readFileSync(log, "utf8"), "line\n".repeat(round + 1));
    if (round === 0) await beta.sessions.events.send(session.id, { events: [message("once more")] });
    await sleep(10);
  }
});
done();
