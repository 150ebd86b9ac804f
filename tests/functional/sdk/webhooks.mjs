// Deliveries on stdin, as a receiver got them: the SDK unwraps them with its own check; then it manages endpoints.
import assert from "node:assert/strict";
import fs from "node:fs";
import Anthropic from "@anthropic-ai/sdk";
import { check, done } from "./common.mjs";

const client = new Anthropic();
const key = process.env.TEST_SECRET;
const got = JSON.parse(fs.readFileSync(0, "utf8"));

await check("unwrap takes each delivery", async () => {
  assert.ok(got.length >= 3);
  for (const { headers, body } of got) {
    const event = client.beta.webhooks.unwrap(body, { headers, key });
    assert.equal(event.type, "event");
    assert.equal(event.id, headers["webhook-id"]);
    assert.match(event.data.type, /^session\./);
    assert.ok(!Number.isNaN(Date.parse(event.created_at)));
  }
});
await check("unwrap refuses what was changed", async () => {
  const { headers, body } = got[0];
  assert.throws(() => client.beta.webhooks.unwrap(body.replace("session", "sessioN"), { headers, key }));
  assert.throws(() => client.beta.webhooks.unwrap(body, { headers: { ...headers, "webhook-id": "wevt_other" }, key }));
  const old = String(Number(headers["webhook-timestamp"]) - 1);
  assert.throws(() => client.beta.webhooks.unwrap(body, { headers: { ...headers, "webhook-timestamp": old }, key }));
});
await check("endpoints: create, retrieve, update, list, secret, delete", async () => {
  const hooks = client.beta.organization.webhooks;
  const made = await hooks.create({ url: "https://example.com/hooks", enabled_events: ["session.created"], name: "n" });
  assert.match(made.signing_secret, /^whsec_/);
  assert.equal((await hooks.retrieve(made.id)).name, "n");
  assert.equal((await hooks.update(made.id, { state: "disabled" })).state, "disabled");
  const all = [];
  for await (const one of hooks.list({ limit: 1 })) all.push(one.id);
  assert.ok(all.includes(made.id) && all.length === 2, all.join());
  assert.notEqual((await hooks.regenerateSigningSecret(made.id)).signing_secret, made.signing_secret);
  assert.equal((await hooks.delete(made.id)).type, "webhook_endpoint_deleted");
});
done();
