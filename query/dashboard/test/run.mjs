// Runs the tests of what the page's words and addresses are made of, in Node's own test runner: bundled first, because
// the oldest Node that builds the page does not read TypeScript.

import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const names = (await readdir(here)).filter(name => name.endsWith(".test.ts"));
const folder = await mkdtemp(join(tmpdir(), "linktide-dashboard-"));
await build({
  entryPoints: names.map(name => join(here, name)),
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node18",
  outdir: folder,
  outExtension: { ".js": ".mjs" },
  logLevel: "warning",
});
const files = names.map(name => join(folder, name.replace(/\.ts$/, ".mjs")));
// Names of days and hours must not hang on where the tests run.
const { status } = spawnSync(process.execPath, ["--test", ...files], {
  stdio: "inherit",
  env: { ...process.env, TZ: "America/St_Johns" },
});
await rm(folder, { recursive: true });
process.exit(status ?? 1);
