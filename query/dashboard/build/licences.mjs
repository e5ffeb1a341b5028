// Every package of the page has a licence that the project takes (deny.toml has the same list for crates).

import { readFileSync } from "node:fs";

const TAKEN = ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "Unicode-3.0", "Zlib", "CC0-1.0"];
/** Permissive all the same; ECharts rests on it. */
const EXCEPTIONS = { tslib: "0BSD" };

const { packages } = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"));
const refused = Object.entries(packages).filter(([place, { license }]) => {
  const name = place.replace(/^.*node_modules\//, "");
  const offered = (license ?? "none").replace(/[()]/g, "").split(" OR ");
  return !offered.some(one => TAKEN.includes(one)) && EXCEPTIONS[name] !== license;
});
for (const [place, { license }] of refused) console.error(`${place} has the licence ${license}`);
process.exit(refused.length > 0 ? 1 : 0);
