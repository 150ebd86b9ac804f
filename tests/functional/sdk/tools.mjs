// The official toolset in its own runner, with a scenario instead of a service: what it posts goes into a file.
//   node tools.mjs SCENARIO.json RESULTS.json WORKDIR
import fs from "node:fs";
import Anthropic from "@anthropic-ai/sdk";
import { runRunnableTool } from "@anthropic-ai/sdk/lib/tools/BetaRunnableTool.mjs";
import { betaAgentToolset20260401 } from "@anthropic-ai/sdk/tools/agent-toolset/node";

const [scenario, results, workdir] = process.argv.slice(2);
const steps = JSON.parse(fs.readFileSync(scenario, "utf8"));
const tools = betaAgentToolset20260401({ workdir });
const posted = [];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What the service sees: content blocks, which are one text block in all that these tools say.
const seen = (result) => {
  if (result.content.length !== 1 || result.content[0].type !== "text") throw new Error(`no text: ${JSON.stringify(result)}`);
  return { content: result.content[0].text, is_error: result.is_error };
};

// Calls at the same time are more than a session does (its runner takes one after the other), but the tools allow it.
async function together(calls) {
  return Promise.all(calls.map(async ({ tool, input }) => {
    const { content, isError } = await runRunnableTool(tools.find((t) => t.name === tool), input, {});
    return { content: content || "(no output)", is_error: isError };
  }));
}

let at = -1, stream;
const say = (event) => stream.enqueue(new TextEncoder().encode(`event: message\ndata: ${JSON.stringify(event)}\n\n`));
async function next() {
  while (++at < steps.length) {
    const step = steps[at];
    if (step.pause_ms) await sleep(step.pause_ms);
    if (!step.together) return say({ type: "agent.tool_use", id: `sevt_${at}`, name: step.tool, input: step.input, evaluated_permission: "allow", processed_at: new Date().toISOString() });
    posted.push(await together(step.together));
  }
  say({ type: "session.status_terminated", id: "sevt_end", processed_at: new Date().toISOString() });
}

// The service: a history without events, one stream, and a place for results.
async function service(url, init) {
  const path = new URL(url?.url ?? url).pathname;
  const json = (value) => new Response(JSON.stringify(value), { headers: { "content-type": "application/json" } });
  if (path.endsWith("/events/stream")) {
    const body = new ReadableStream({ start: (controller) => { stream = controller; } });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  }
  if ((init?.method ?? "GET").toUpperCase() === "GET") {
    if (at < 0) setTimeout(next, 0);
    return json({ data: [], next_page: null });
  }
  const [result] = JSON.parse(init.body).events;
  if (result.tool_use_id !== `sevt_${at}`) throw new Error(`not the result of call ${at}: ${init.body}`);
  posted.push(seen(result));
  setTimeout(next, 0);
  return json({ data: [result] });
}

const client = new Anthropic({ apiKey: "none", baseURL: "http://service.invalid", fetch: service });
for await (const call of client.beta.sessions.events.toolRunner("sesn_tools", { tools, maxIdleMs: 0 })) {
  if (!call.posted) throw new Error(`not posted: ${JSON.stringify(call)}`);
}
fs.writeFileSync(results, JSON.stringify(posted));
process.exit(0);
