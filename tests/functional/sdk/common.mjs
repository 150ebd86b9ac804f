// Checks with names, as in the other scripts here; `done()` ends the program.
let failed = 0;
export async function check(promise, body, limit = 60_000) {
  const began = Date.now();
  try {
    let timer;
    const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not within ${limit} ms`)), limit); });
    await Promise.race([body(), late]).finally(() => clearTimeout(timer));
    console.log(`  ok      ${promise} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed++;
    console.log(`  FAILED  ${promise}: ${error?.constructor?.name}: ${error?.message}`);
    console.error(error);
  }
}
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export async function eventually(condition, what, limit = 20_000) {
  for (const deadline = Date.now() + limit; ; ) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${limit} ms: ${what}`);
    await sleep(50);
  }
}
export const text = (words) => [{ type: "text", text: words }];
export const plain = (event) => event.content.map((block) => block.text ?? "").join("");
export const done = () => process.exit(failed ? 1 : 0);
