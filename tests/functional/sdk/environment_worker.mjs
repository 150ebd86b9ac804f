// The official EnvironmentWorker as people run it: polls until it is told to stop. The rest comes from the usual variables.
//   node environment_worker.mjs WORKDIR MAX_IDLE_MS [SESSIONS AT ONCE]
import Anthropic from "@anthropic-ai/sdk";
import { EnvironmentWorker } from "@anthropic-ai/sdk/helpers/beta/environments";

const [workdir, maxIdleMs, sessions = 1] = process.argv.slice(2);
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => stop.abort());
const { ANTHROPIC_ENVIRONMENT_ID: environmentId, ANTHROPIC_ENVIRONMENT_KEY: environmentKey } = process.env;
const client = new Anthropic({ apiKey: null, authToken: environmentKey, logLevel: "info" });
const workers = Array.from({ length: Number(sessions) }, (_, i) =>
  new EnvironmentWorker({
    client, environmentId, environmentKey, workdir, maxIdleMs: Number(maxIdleMs), workerId: `official-${process.pid}-${i}`,
  }).run(stop.signal));
await Promise.all(workers).catch((error) => { if (!stop.signal.aborted) throw error; });
process.exit(0);
