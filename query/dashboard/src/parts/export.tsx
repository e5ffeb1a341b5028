/** Takes what is seen here away as a file. */

import { useState } from "preact/hooks";
import type { Credential } from "../api/access.ts";
import { getJson, postJson, Refused, send } from "../api/client.ts";
import { wait } from "../api/live.ts";
import { filterParameter, whenParameters } from "../api/questions.ts";
import { unitOf, type View } from "../state/view.ts";
import { count } from "../words/format.ts";
import { Dialog } from "./dialog.tsx";

interface Props {
  view: View;
  timezone: string;
  credential: Credential | null;
  title: string;
  close: () => void;
}

const WHAT = {
  clicks: "Every click, one a row",
  timeseries: "Clicks over time",
  breakdown: "Countries, referrers, devices and more",
  links: "All links with their clicks",
};
type What = keyof typeof WHAT;
const FORMATS = { csv: "CSV", ndjson: "JSON lines", parquet: "Parquet", arrow: "Arrow" };

function parameters(view: View, timezone: string, of: What, format: string): Record<string, string> {
  const all = { of, format, ...whenParameters(view), timezone, traffic: view.traffic };
  if (of === "clicks") return { ...all, ...filterParameter(view.filter) };
  if (of === "timeseries") return { ...all, unit: unitOf(view) };
  if (of === "breakdown") return { ...all, by: "country,region,city,referrer,device,browser,os,language,trigger" };
  return all;
}

interface Job {
  id: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled" | "gone";
  reason?: string;
  result?: { files: { name: string; rows: number }[] };
}

type State =
  | { is: "ready" }
  | { is: "working"; says: string }
  | { is: "too-large"; says: string }
  | { is: "failed"; says: string }
  | { is: "done"; says: string };

/** How often a job is looked at. */
const LOOK = 1_500;
/** How long a file may take to arrive. */
const PATIENCE = 30 * 60_000;

/** The name that the service gave the file. */
function fileName(response: Response, format: string): string {
  return /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? `linktide.${format}`;
}

function save(content: Blob, name: string) {
  const place = URL.createObjectURL(content);
  const anchor = document.createElement("a");
  anchor.href = place;
  anchor.download = name;
  anchor.click();
  URL.revokeObjectURL(place);
}

export function ExportDialog({ view, timezone, credential, title, close }: Props) {
  const [of, setOf] = useState<What>("clicks");
  const [format, setFormat] = useState("csv");
  const [state, setState] = useState<State>({ is: "ready" });
  const asked = parameters(view, timezone, of, format);
  const failed = (error: unknown) => {
    if (error instanceof Refused && error.problem.type === "/problems/export-too-large")
      return setState({ is: "too-large", says: error.message });
    setState({ is: "failed", says: String((error as Error).message ?? error) });
  };
  const download = async () => {
    setState({ is: "working", says: "The file is being made…" });
    try {
      const subject = view.link ? `links/${view.link}` : "account";
      const response = await send(`/v1/${subject}/export?${new URLSearchParams(asked)}`, credential, {}, PATIENCE);
      // A file that breaks off fails here: it is saved whole or not at all.
      const content = await response.blob();
      save(content, fileName(response, format));
      setState({ is: "done", says: `Saved, ${count(content.size)} bytes.` });
    } catch (error) {
      failed(error);
    }
  };
  const makeJob = async () => {
    setState({ is: "working", says: "The files are being made; this may take a while…" });
    try {
      const links = view.link ? { links: view.link } : {};
      const job = await postJson<Job>("/v1/exports", { ...asked, ...links }, credential);
      await fetchJob(job, credential);
      setState({ is: "done", says: "All files are saved." });
    } catch (error) {
      failed(error);
    }
  };
  const choices = Object.entries(WHAT).filter(([what]) => !(view.link && what === "links"));
  return (
    <Dialog title={`Export: ${title}`} close={close}>
      <form
        onSubmit={event => {
          event.preventDefault();
          void download();
        }}
      >
        <label>
          <span>What</span>
          <select value={of} onChange={event => setOf(event.currentTarget.value as What)}>
            {choices.map(([what, name]) => (
              <option key={what} value={what}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span>As</span>
          <select value={format} onChange={event => setFormat(event.currentTarget.value)}>
            {Object.entries(FORMATS).map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <button type="submit" class="primary" disabled={state.is === "working"}>
          Download
        </button>
      </form>
      <p class="quiet">
        Of the range and the traffic that are shown{of === "clicks" && view.filter ? ", with the filter" : ""}. Clicks
        of the last hours are in counts first and in files after the next nightly run.
      </p>
      <p role="status" data-testid="export">
        {"says" in state ? state.says : ""}
      </p>
      {state.is === "too-large" && (
        <button type="button" class="primary" onClick={makeJob}>
          Make it in the background
        </button>
      )}
    </Dialog>
  );
}

/** Follows a job to its end and saves its files. */
async function fetchJob(begun: Job, credential: Credential | null) {
  let job = begun;
  const never = new AbortController();
  while (job.state === "queued" || job.state === "running") {
    await wait(LOOK, never.signal);
    job = await getJson<Job>(`/v1/exports/${begun.id}`, credential);
  }
  if (job.state !== "done") throw new Error(job.reason ?? `the export is ${job.state}`);
  for (const [number, file] of (job.result?.files ?? []).entries()) {
    const response = await send(`/v1/exports/${begun.id}/parts/${number}`, credential, {}, PATIENCE);
    save(await response.blob(), file.name);
  }
}
