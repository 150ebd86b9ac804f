// What an application does with the SDK: agents, environments, sessions, events. The environment is served by our orchestrator; the
// model is scripted by the test: it does what "case:NAME" in the message says.
import assert from "node:assert/strict";
import Anthropic, {
  APIUserAbortError, AuthenticationError, BadRequestError, ConflictError, NotFoundError, PermissionDeniedError, PreconditionFailedError,
} from "@anthropic-ai/sdk";
import { check, done, eventually, plain, text } from "./common.mjs";

const client = new Anthropic(); // ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
const { beta } = client;
const served = process.env.TEST_ENVIRONMENT_ID; // the one our orchestrator serves
const TOOLSET = { type: "agent_toolset_20260401" };
const CUSTOM = {
  type: "custom", name: "weather", description: "Tells the weather.",
  input_schema: { type: "object", properties: { town: { type: "string" } }, required: ["town"] },
};

const collect = async (pages) => { const all = []; for await (const one of pages) all.push(one); return all; };
const say = (session, words) => beta.sessions.events.send(session, { events: [{ type: "user.message", content: text(words) }] });
// Opens the stream, sends, and hands each event to `each` until the turn has ended. Gives all of them.
async function turn(session, events, each = async () => {}, query = undefined) {
  const stream = await beta.sessions.events.stream(session, query);
  const seen = [];
  await beta.sessions.events.send(session, { events });
  for await (const event of stream) {
    seen.push(event);
    await each(event, seen);
    if (event.type === "session.status_idle" && event.stop_reason.type !== "requires_action") break;
    if (event.type === "session.status_terminated") break;
  }
  stream.controller.abort();
  return seen;
}
const message = (words) => ({ type: "user.message", content: text(words) });
const last = (events) => events.at(-1);

let agent, environment;
await check("agents: create, retrieve, update, versions, list, archive", async () => {
  agent = await beta.agents.create({ name: "sdk", model: "claude-test-1", system: "be brief", tools: [TOOLSET], metadata: { a: "1" } });
  assert.equal(agent.type, "agent");
  assert.equal(agent.version, 1);
  assert.deepEqual(agent.model.id, "claude-test-1");
  assert.equal(agent.tools[0].default_config.enabled, true);
  assert.equal(agent.tools[0].default_config.permission_policy.type, "always_allow");
  const second = await beta.agents.update(agent.id, { version: 1, system: "be briefer" });
  assert.deepEqual([second.version, second.system, second.name, second.metadata], [2, "be briefer", "sdk", { a: "1" }]);
  assert.equal((await beta.agents.update(agent.id, { version: 2, system: "be briefer" })).version, 2, "nothing changed");
  assert.equal((await beta.agents.retrieve(agent.id, { version: 1 })).system, "be brief");
  assert.deepEqual((await collect(beta.agents.versions.list(agent.id))).map((a) => a.version), [2, 1]);
  assert.ok((await collect(beta.agents.list({ limit: 1 }))).some((a) => a.id === agent.id));
  const old = await beta.agents.create({ name: "old", model: { id: "claude-test-1", effort: "low" } });
  assert.ok((await beta.agents.archive(old.id)).archived_at);
  assert.ok(!(await collect(beta.agents.list())).some((a) => a.id === old.id));
  assert.ok((await collect(beta.agents.list({ include_archived: true }))).some((a) => a.id === old.id));
});
await check("environments: create, retrieve, update, list, archive, delete", async () => {
  environment = await beta.environments.create({ name: "sdk place", config: { type: "self_hosted" }, metadata: { k: "v" } });
  assert.deepEqual([environment.type, environment.config, environment.archived_at], ["environment", { type: "self_hosted" }, null]);
  const changed = await beta.environments.update(environment.id, { description: "d", metadata: { k: null, l: "w" } });
  assert.deepEqual([changed.description, changed.metadata], ["d", { l: "w" }]);
  assert.equal((await beta.environments.retrieve(environment.id)).description, "d");
  assert.ok((await collect(beta.environments.list({ limit: 1 }))).some((e) => e.id === environment.id));
  const other = await beta.environments.create({ name: "other place", config: { type: "self_hosted" } });
  assert.ok((await beta.environments.archive(other.id)).archived_at);
  const gone = await beta.environments.create({ name: "third place", config: { type: "self_hosted" } });
  assert.deepEqual(await beta.environments.delete(gone.id), { id: gone.id, type: "environment_deleted" });
});

let session;
await check("session: send, stream to idle, list: the same events in the same order", async () => {
  session = await beta.sessions.create({ agent: agent.id, environment_id: served, title: "first", metadata: { who: "sdk" } });
  assert.deepEqual([session.type, session.status, session.title, session.agent.id, session.agent.version], ["session", "idle", "first", agent.id, 2]);
  assert.deepEqual([session.resources, session.vault_ids, session.agent.skills], [[], [], []]);
  const seen = await turn(session.id, [message("case:tools")]);
  assert.deepEqual(last(seen).stop_reason, { type: "end_turn" });
  const calls = seen.filter((e) => e.type === "agent.tool_use").map((e) => e.name);
  assert.deepEqual(calls, ["write", "read", "bash"]);
  const results = seen.filter((e) => e.type === "user.tool_result");
  assert.deepEqual(results.map((e) => [plain(e), e.is_error]), [["wrote 3 bytes to hello.txt", false], ["hi\n", false], ["hi", false]]);
  assert.equal(plain(seen.filter((e) => e.type === "agent.message").at(-1)), "all done");
  const listed = await collect(beta.sessions.events.list(session.id, { limit: 3 }));
  assert.deepEqual(listed.map((e) => e.id), seen.map((e) => e.id));
  const backwards = await collect(beta.sessions.events.list(session.id, { order: "desc" }));
  assert.deepEqual(backwards.map((e) => e.id), listed.map((e) => e.id).reverse());
  const some = await collect(beta.sessions.events.list(session.id, { types: ["agent.tool_use", "user.message"] }));
  assert.deepEqual(new Set(some.map((e) => e.type)), new Set(["agent.tool_use", "user.message"]));
  assert.equal((await beta.sessions.retrieve(session.id)).status, "idle");
});
await check("the session goes on: shell and files are those of before", async () => {
  const seen = await turn(session.id, [message("case:again")]);
  assert.deepEqual(seen.filter((e) => e.type === "user.tool_result").map(plain), ["kept hi"]);
});
await check("initial_events start it; sessions are listed with filters, and both ways", async () => {
  const other = await beta.sessions.create({ agent: { type: "agent", id: agent.id, version: 1 }, environment_id: served, initial_events: [message("case:hello")] });
  assert.equal(other.status, "running");
  assert.equal(other.agent.version, 1);
  await eventually(async () => (await beta.sessions.retrieve(other.id)).status === "idle", "idle");
  const mine = await collect(beta.sessions.list({ agent_id: agent.id, limit: 1 }));
  assert.deepEqual(mine.map((s) => s.id).slice(0, 2), [other.id, session.id]);
  const old = await collect(beta.sessions.list({ agent_id: agent.id, order: "asc", limit: 1 }));
  assert.deepEqual(old.map((s) => s.id), mine.map((s) => s.id).reverse());
  const page = await beta.sessions.list({ agent_id: agent.id, limit: 1 });
  assert.equal(page.prev_page, null);
  assert.ok(page.next_page);
  const updated = await beta.sessions.update(other.id, { title: "renamed", metadata: { x: "y" } });
  assert.deepEqual([updated.title, updated.metadata], ["renamed", { x: "y" }]);
  const threads = await collect(beta.sessions.threads.list(other.id));
  assert.deepEqual(threads.map((t) => [t.session_id, t.parent_thread_id, t.status]), [[other.id, null, "idle"]]);
  const archived = await beta.sessions.archive(other.id);
  assert.deepEqual([archived.status, !!archived.archived_at], ["terminated", true]);
  assert.deepEqual(await beta.sessions.delete(other.id), { id: other.id, type: "session_deleted" });
});
await check("interrupt: the turn ends with end_turn, the next message works", async () => {
  const one = await beta.sessions.create({ agent: agent.id, environment_id: served });
  let interrupted = false;
  const seen = await turn(one.id, [message("case:long")], async (event) => {
    if (event.type === "agent.tool_use" && !interrupted) {
      interrupted = true;
      await beta.sessions.events.send(one.id, { events: [{ type: "user.interrupt" }] });
    }
  });
  assert.deepEqual(last(seen).stop_reason, { type: "end_turn" });
  assert.deepEqual(seen.filter((e) => e.type === "user.tool_result").map((e) => e.is_error), [true]);
  const after = await turn(one.id, [message("and now?")]);
  assert.equal(plain(after.find((e) => e.type === "agent.message")), "after the interrupt");
});
await check("always_ask: confirmed it runs, denied it does not", async () => {
  const careful = await beta.agents.create({
    name: "careful", model: "claude-test-1",
    tools: [{ ...TOOLSET, configs: [{ name: "bash", permission_policy: { type: "always_ask" } }] }],
  });
  const one = await beta.sessions.create({ agent: careful.id, environment_id: served });
  const verdicts = ["allow", "deny"];
  const seen = await turn(one.id, [message("case:careful")], async (event, all) => {
    if (event.type === "session.status_idle" && event.stop_reason.type === "requires_action") {
      const call = all.find((e) => e.id === event.stop_reason.event_ids[0]);
      if (call.evaluated_permission !== "ask" || all.some((e) => e.type === "user.tool_confirmation" && e.tool_use_id === call.id)) return;
      const result = verdicts.shift();
      await beta.sessions.events.send(one.id, {
        events: [{ type: "user.tool_confirmation", tool_use_id: call.id, result, ...(result === "deny" ? { deny_message: "no, thanks" } : {}) }],
      });
    }
  });
  assert.deepEqual(verdicts, []);
  assert.deepEqual(seen.filter((e) => e.type === "user.tool_result").map(plain), ["allowed"]);
  assert.ok(seen.some((e) => e.type === "agent.tool_result" && e.is_error && plain(e).includes("no, thanks")));
  assert.equal(plain(seen.filter((e) => e.type === "agent.message").at(-1)), "one ran");
});
await check("custom tool: the application answers", async () => {
  const helped = await beta.agents.create({ name: "helped", model: "claude-test-1", tools: [TOOLSET, CUSTOM] });
  assert.deepEqual(helped.tools[1].input_schema.required, ["town"]);
  const one = await beta.sessions.create({ agent: helped.id, environment_id: served });
  const seen = await turn(one.id, [message("case:custom")], async (event) => {
    if (event.type === "agent.custom_tool_use")
      await beta.sessions.events.send(one.id, {
        events: [{ type: "user.custom_tool_result", custom_tool_use_id: event.id, content: text(`sunny in ${event.input.town}`) }],
      });
  });
  assert.equal(plain(seen.filter((e) => e.type === "agent.message").at(-1)), "sunny in Bern");
});
await check("event_deltas: a preview, then the whole message under the same id", async () => {
  const one = await beta.sessions.create({ agent: agent.id, environment_id: served });
  const seen = await turn(one.id, [message("case:hello")], undefined, { event_deltas: ["agent.message", "agent.thinking"] });
  const whole = seen.find((e) => e.type === "agent.message");
  const joined = seen.filter((e) => e.type === "event_delta" && e.event_id === whole.id).map((e) => e.delta.content.text).join("");
  assert.ok(seen.some((e) => e.type === "event_start" && e.event.id === whole.id));
  assert.ok(joined.length > 0 && plain(whole).startsWith(joined), joined);
});
await check("error classes", async () => {
  const is = (kind, status) => (error) => error instanceof kind && error.status === status && typeof error.requestID === "string";
  await assert.rejects(beta.agents.retrieve("agent_01nope"), is(NotFoundError, 404));
  await assert.rejects(beta.sessions.events.stream("sesn_01nope"), is(NotFoundError, 404));
  await assert.rejects(beta.agents.create({ name: "" , model: "x" }), is(BadRequestError, 400));
  await assert.rejects(beta.agents.update(agent.id, { version: 1, name: "z" }), is(ConflictError, 409));
  await assert.rejects(beta.environments.create({ name: "sdk place", config: { type: "self_hosted" } }), is(ConflictError, 409));
  await assert.rejects(new Anthropic({ apiKey: "gb-api-wrong" }).beta.agents.list(), is(AuthenticationError, 401));
  const worker = new Anthropic({ apiKey: null, authToken: process.env.TEST_ENVIRONMENT_KEY });
  await assert.rejects(worker.beta.agents.list(), is(PermissionDeniedError, 403));
  await assert.rejects(worker.beta.environments.work.heartbeat("work_01nope", { environment_id: served, expected_last_heartbeat: "x" }), is(NotFoundError, 404));
  const archived = (await collect(beta.environments.list({ include_archived: true }))).find((e) => e.name === "other place");
  await assert.rejects(beta.environments.update(archived.id, { description: "x" }), (e) => e.status === 400 && e.errorCode === "environment_archived" && e.type === "invalid_request_error");
  assert.ok(PreconditionFailedError);
});
await check("409 answers are not tried again", async () => {
  let calls = 0;
  const counting = new Anthropic({ fetch: (...args) => { calls++; return fetch(...args); } });
  await assert.rejects(counting.beta.agents.update(agent.id, { version: 1, name: "z" }), ConflictError);
  assert.equal(calls, 1);
});
await check("the work of an environment: stats, list, retrieve, stop", async () => {
  const one = await beta.sessions.create({ agent: agent.id, environment_id: environment.id, initial_events: [message("case:tools")] });
  const stats = await eventually(async () => { const s = await beta.environments.work.stats(environment.id); return s.depth === 1 && s; }, "depth 1");
  assert.deepEqual([stats.type, stats.pending, stats.workers_polling], ["work_queue_stats", 0, null]);
  const [item] = await collect(beta.environments.work.list(environment.id));
  assert.deepEqual([item.data, item.state, item.secret], [{ type: "session", id: one.id }, "queued", null]);
  assert.equal((await beta.environments.work.retrieve(item.id, { environment_id: environment.id })).id, item.id);
  assert.deepEqual((await beta.environments.work.update(item.id, { environment_id: environment.id, metadata: { a: "b" } })).metadata, { a: "b" });
  assert.equal((await beta.environments.work.stop(item.id, { environment_id: environment.id, force: true })).state, "stopped");
});
await check("the other generation of clients: x-api-key, ?beta=true, 2023-06-01", async () => {
  const answer = await fetch(`${process.env.ANTHROPIC_BASE_URL}/v1/agents/${agent.id}?beta=true`, {
    headers: { "x-api-key": process.env.ANTHROPIC_API_KEY, "anthropic-version": "2023-06-01", "anthropic-beta": "managed-agents-2026-04-01" },
  });
  assert.equal(answer.status, 200);
});
done();
