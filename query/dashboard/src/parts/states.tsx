/** What stands where the numbers would be: while they come, when there are none, and when they are refused. */

import type { Answer } from "../api/questions.ts";
import type { Problem } from "../api/types.ts";
import type { View } from "../state/view.ts";
import { day } from "../words/format.ts";

export function Skeleton({ lost }: { lost: boolean }) {
  return (
    <div class="skeleton" data-testid="skeleton">
      <p role="status" class={lost ? "" : "hidden"}>
        {lost
          ? "Linktide does not answer. This page keeps trying, and shows the numbers as soon as it does."
          : "Loading"}
      </p>
      <div class="ghost line" />
      <div class="ghost tiles" />
      <div class="ghost chart" />
    </div>
  );
}

export function Starting({ problem }: { problem: Problem }) {
  const busy = problem.status === 429;
  return (
    <section class="prompt" data-testid="starting">
      <h1>{busy ? "A moment, please" : "Linktide is starting"}</h1>
      <p role="status">
        {busy
          ? "More is asked of this service than it answers at once. This page asks again by itself."
          : "Nothing is published yet, or the layers are being read. This page asks again by itself."}
      </p>
      <p class="quiet">{problem.detail}</p>
    </section>
  );
}

export function Refusal({ problem, reset }: { problem: Problem; reset: () => void }) {
  const forbidden = problem.status === 403;
  return (
    <section class="prompt" role="alert" data-testid="refusal">
      <h1>{forbidden ? "This key does not open that" : "That cannot be shown"}</h1>
      <p>{problem.detail}</p>
      {problem.scope && (
        <p>
          The scope it lacks: <code>{problem.scope}</code>
        </p>
      )}
      <button type="button" class="primary" onClick={reset}>
        Show the last 30 days
      </button>
    </section>
  );
}

interface EmptyProps {
  view: View;
  answer: Answer;
  timezone: string;
  change: (view: View) => void;
}

export function Empty({ view, answer, timezone, change }: EmptyProps) {
  const { first_click, last_click } = answer.summary;
  const id = view.link ?? "42";
  if (first_click && last_click)
    return (
      <section class="prompt" data-testid="empty">
        <h2>Nobody clicked in this range</h2>
        <p>
          There were clicks from {day(new Date(first_click), timezone, { year: "numeric" })} to{" "}
          {day(new Date(last_click), timezone, { year: "numeric" })}.
        </p>
        <button
          type="button"
          class="primary"
          onClick={() => change({ ...view, when: { interval: "all" }, unit: null })}
        >
          Show all time
        </button>
      </section>
    );
  return (
    <section class="prompt" data-testid="empty">
      <h2>No click yet</h2>
      <p>The first one appears here within three seconds, without a reload. To send one by hand:</p>
      <pre tabIndex={0}>
        <code>{`curl ${location.origin}/v1/clicks -d '{"link_id": "${id}", "slug": "spring",
  "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"}'`}</code>
      </pre>
    </section>
  );
}
