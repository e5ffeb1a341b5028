// Builds the page into dist/: one HTML file, and scripts and styles whose names are made of what is in them, each also
// packed by gzip and brotli. The crate embeds what lies there.

import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";
import { world } from "./build/world.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "dist");

/** Everything together, packed by gzip, may weigh so much. */
const BUDGET = 350 * 1024;

/** The keeper of the folder stays: it is part of the repository. */
async function clean() {
  await mkdir(dist, { recursive: true });
  for (const name of await readdir(dist)) {
    if (name !== ".gitignore") await rm(join(dist, name), { recursive: true });
  }
}

async function bundle() {
  const common = {
    absWorkingDir: here,
    bundle: true,
    minify: true,
    metafile: true,
    target: "es2022",
    outdir: "dist/assets",
    entryNames: "[name]-[hash]",
    publicPath: "/assets",
    legalComments: "none",
    logLevel: "warning",
  };
  const app = build({
    ...common,
    entryPoints: { app: "src/main.tsx" },
    format: "esm",
    splitting: true,
    chunkNames: "part-[name]-[hash]",
    assetNames: "[name]-[hash]",
    loader: { ".svg": "file" },
    plugins: [world],
  });
  // Runs before the first paint, so that nobody who chose the dark sees a flash of light.
  const theme = build({ ...common, entryPoints: { theme: "src/theme-early.ts" }, format: "iife" });
  const outputs = (await Promise.all([app, theme])).map(result => result.metafile.outputs);
  return Object.assign({}, ...outputs);
}

/** The one file whose name matches. */
function named(outputs, pattern) {
  const found = Object.keys(outputs).filter(path => pattern.test(path));
  if (found.length !== 1) throw new Error(`${pattern} names ${found.length} files: ${found.join(", ")}`);
  return basename(found[0]);
}

async function page(outputs) {
  const template = await readFile(join(here, "src/index.html"), "utf8");
  const html = template
    .replace("{{style}}", named(outputs, /app-[^/]*\.css$/))
    .replace("{{app}}", named(outputs, /\/app-[^/]*\.js$/))
    .replace("{{theme}}", named(outputs, /theme-[^/]*\.js$/))
    .replace("{{icon}}", named(outputs, /icon[^/]*\.svg$/))
    // Asked for at once, not when the page has found out that it needs it.
    .replace("{{chart}}", named(outputs, /part-timeseries-[^/]*\.js$/));
  await writeFile(join(dist, "index.html"), html);
}

async function pack() {
  let total = 0;
  const assets = (await readdir(join(dist, "assets"))).map(name => join("assets", name));
  for (const name of ["index.html", ...assets]) {
    const plain = await readFile(join(dist, name));
    const gzip = gzipSync(plain, { level: 9 });
    await writeFile(join(dist, `${name}.gz`), gzip);
    const params = {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
    };
    await writeFile(join(dist, `${name}.br`), brotliCompressSync(plain, { params }));
    total += gzip.length;
    console.log(`${String(gzip.length).padStart(8)} B gzip  ${name}`);
  }
  console.log(`${String(total).padStart(8)} B gzip  in all, of ${BUDGET}`);
  if (total > BUDGET) throw new Error(`the page weighs ${total} bytes, packed by gzip; ${BUDGET} at most`);
}

await clean();
await page(await bundle());
await pack();
