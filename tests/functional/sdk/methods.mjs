// Notes which public methods of a class were called, so that a suite can say what it did not try.
const called = new Set();
const known = new Set();

export function watch(name, type, priv = []) {
  for (const [where, holder] of [["", type.prototype], ["static ", type]]) {
    for (const key of Object.getOwnPropertyNames(holder)) {
      const there = Object.getOwnPropertyDescriptor(holder, key);
      if (key === "constructor" || key.startsWith("_") || priv.includes(key) || typeof there.value !== "function") continue;
      const label = `${where}${name}.${key}`;
      known.add(label);
      holder[key] = function (...args) { called.add(label); return there.value.apply(this, args); };
    }
  }
}
export const report = () => console.log(`CALLED ${JSON.stringify([...called])}\nKNOWN ${JSON.stringify([...known])}`);
