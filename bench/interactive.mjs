// Time to interactive, as ComputeSDK measures it: from asking the official SDK for a sandbox to the answer of its first command. One
// after the other, a new one every so often whether or not the last is there, and all in the same moment. Prints milliseconds as JSON.
import { Sandbox } from "tensorlake";

const [, , count, apart, command] = process.argv;

async function one() {
  const began = performance.now();
  const sandbox = await Sandbox.create();
  const result = await sandbox.run(command);
  const took = performance.now() - began;
  await sandbox.terminate();
  if (result.exitCode !== 0) throw new Error(`${command}: exit ${result.exitCode}: ${result.stderr}`);
  return took;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const times = [...Array(Number(count)).keys()];
await one(); // modules, connections
const sequential = [];
for (const _ of times) sequential.push(await one());
const staggered = await Promise.all(times.map(async (n) => { await pause(n * Number(apart)); return one(); }));
const together = await Promise.all(times.map(one));
console.log(JSON.stringify({ sequential, staggered, together }));
