// What the scripts about sandboxes share.
import assert from "node:assert/strict";
import { Pty, Sandbox, SandboxClient, TcpTunnel } from "tensorlake";
import { report, watch } from "./methods.mjs";

const silent = console.warn;
console.warn = (...words) => { if (!/deprecated/i.test(String(words[0]))) silent(...words); };
watch("Sandbox", Sandbox, ["requireLifecycleClient", "waitForPortReady"]);
watch("SandboxClient", SandboxClient, ["withRequestTimeout", "tracedJson", "plainJson"]);
if (Pty) watch("Pty", Pty, ["requireOpenSocket", "finishWait", "failWait"]);
if (TcpTunnel) watch("TcpTunnel", TcpTunnel, ["handleConnection"]);

export { assert, report };
export const image = process.env.TENSORLAKE_SANDBOX_IMAGE;
export const client = new SandboxClient({}, true);
export const say = (bytes) => new TextDecoder().decode(bytes);
export const bytes = (string) => new TextEncoder().encode(string);
export const sh = (box, script, options = {}) => box.run("/bin/bash", { args: ["-c", script], ...options });
export const words = async (box, script) => (await sh(box, script)).stdout.trimEnd();
export const refused = (promise, status, what) => assert.rejects(promise, (error) => {
  assert.equal(error.status ?? error.statusCode, status, `${error.constructor.name}: ${error.message}`);
  if (what) assert.match(error.message, what);
  return true;
});
