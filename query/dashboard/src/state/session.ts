/**
 * Keeps one view up to date for as long as it is looked at.
 *
 * 1. All parts are asked in one request, at one watermark.
 * 2. They are asked again when the live stream tells of clicks that they do not hold, and when a look at the view's summary
 *    finds another one (a late click, a correction, a layer that came or went): never on a timer alone.
 * 3. The badge speaks of the numbers that are shown. They are as of a later moment only where a look has found, behind that
 *    moment, that nothing has changed.
 * 4. What has been drawn stays while nobody answers; trying again goes on, ever more slowly, and ends with the first answer.
 */

import type { Credential } from "../api/access.ts";
import { getJson, Lost, postJson, Refused, Watcher } from "../api/client.ts";
import { follow, pause, wait } from "../api/live.ts";
import {
  type Answer,
  type Answers,
  filterParameter,
  questionsOf,
  readAnswer,
  whenParameters,
} from "../api/questions.ts";
import type { Bucket, Freshness, Problem, Range, Summary, Told } from "../api/types.ts";
import { date } from "../words/format.ts";
import { unitOf, type View } from "./view.ts";

/** Between two requests for all parts. */
const BREATH = 1_000;
/** How often is looked for changes: the badge says within this time that something is away. */
const LOOK = 4_000;

export interface Shown {
  answer: Answer | null;
  /** The series that the shown one is compared with. */
  compared: Bucket[] | null;
  freshness: Freshness | null;
  live: Told | null;
  connected: boolean;
  /** Since when nobody answers. */
  lostAt: Date | null;
  /** Why nothing more is asked. */
  problem: Problem | null;
  /** Why it has to be asked again later: the service begins, or is busy. */
  waiting: Problem | null;
}

export const NOTHING: Shown = {
  answer: null,
  compared: null,
  freshness: null,
  live: null,
  connected: false,
  lostAt: null,
  problem: null,
  waiting: null,
};

export class Session {
  private shown = NOTHING;
  private readonly ended = new AbortController();
  private readonly subject: string;
  private wake: (() => void) | null = null;
  private due = false;
  private stream = new AbortController();

  constructor(
    private readonly view: View,
    private readonly timezone: string,
    private readonly credential: Credential | null,
    private readonly show: (shown: Shown) => void,
  ) {
    this.subject = view.link ? `/v1/links/${view.link}` : "/v1/account";
  }

  begin() {
    void this.answers();
    void this.looks();
    this.listen();
    document.addEventListener("visibilitychange", this.seen);
  }

  end() {
    this.ended.abort();
    this.stream.abort();
    this.wake?.();
    document.removeEventListener("visibilitychange", this.seen);
  }

  private get signal() {
    return this.ended.signal;
  }

  private update(more: Partial<Shown>) {
    if (this.signal.aborted) return;
    this.shown = { ...this.shown, ...more };
    this.show(this.shown);
  }

  /** Browsers open few connections to one place: a page that nobody sees holds none. */
  private readonly seen = () => {
    this.stream.abort();
    if (document.hidden) return;
    this.stream = new AbortController();
    this.listen();
    this.again();
  };

  /** All parts are asked for again as soon as may be. */
  private again() {
    this.due = true;
    this.wake?.();
  }

  private async answers() {
    for (let failed = 0; !this.signal.aborted; ) {
      const begun = performance.now();
      const found = await this.ask();
      if (found === "refused") return;
      if (found === "answered") {
        failed = 0;
        // A service that is slow is asked less often: half of the time at most.
        await wait(Math.max(BREATH, performance.now() - begun), this.signal);
        await this.wanted();
      } else await wait(Math.max(found, pause(failed++)), this.signal);
    }
  }

  private async wanted() {
    while ((!this.due || document.hidden) && !this.signal.aborted) {
      await new Promise<void>(resolve => {
        this.wake = resolve;
      });
    }
    this.due = false;
  }

  /** Asks once: whether that was answered or refused for good, or how long to wait, in milliseconds. */
  private async ask(): Promise<"answered" | "refused" | number> {
    const told = this.shown.live;
    try {
      const asked = questionsOf(this.view, this.timezone, date(new Date(), this.timezone));
      const answers = await postJson<Answers>("/v1/query", asked.body, this.credential, this.signal);
      const answer = readAnswer(asked, answers);
      this.update({ answer, freshness: answer.freshness, lostAt: null, problem: null, waiting: null });
      // What the stream told while this was on its way may be newer than it.
      if (this.shown.live !== told) this.heard(this.shown.live);
      void this.compare(answer);
      return "answered";
    } catch (error) {
      if (error instanceof Refused) {
        const later = error.problem.status === 429 || error.problem.status >= 500;
        this.update({ lostAt: null, [later ? "waiting" : "problem"]: error.problem });
        return later ? (error.retryAfter ?? 1) * 1000 : "refused";
      }
      if (error instanceof Lost) this.lost();
      else this.update({ problem: { type: "", title: "Not understood", status: 0, detail: String(error) } });
      return error instanceof Lost ? 0 : "refused";
    }
  }

  private lost() {
    this.update({ lostAt: this.shown.lostAt ?? new Date() });
  }

  /** The series of the range before. It hardly ever changes, so it is asked for once a range. */
  private async compare(answer: Answer) {
    const range = answer.summary.comparison?.range;
    if (!range) return this.update({ compared: null });
    const query = new URLSearchParams({
      start: range.start,
      end: range.end,
      timezone: this.timezone,
      traffic: this.view.traffic,
      unit: unitOf(this.view),
      ...filterParameter(this.view.filter),
    });
    const place = `${this.subject}/timeseries?${query}`;
    if (place === this.comparedOf) return;
    try {
      const { results } = await getJson<{ results: Bucket[] }>(place, this.credential, this.signal);
      this.comparedOf = place;
      this.update({ compared: results });
    } catch {
      // The page is whole without it; the next answer tries again.
    }
  }
  private comparedOf: string | null = null;

  private async looks() {
    const query = new URLSearchParams({
      ...whenParameters(this.view),
      timezone: this.timezone,
      traffic: this.view.traffic,
      ...filterParameter(this.view.filter),
    });
    const watcher = new Watcher<Looked>(`${this.subject}/summary?${query}`, this.credential);
    let last: string | null = null;
    while (!this.signal.aborted && !this.shown.problem) {
      await wait(LOOK, this.signal);
      if (document.hidden || this.signal.aborted || !this.shown.answer) continue;
      this.turnDay();
      try {
        const now = await getJson<Freshness>("/v1/freshness", this.credential, this.signal);
        const looked = await watcher.changed(this.signal);
        if (looked) last = says(looked.results, looked.meta.range, looked.meta.freshness);
        this.compareWith(last, now);
      } catch (error) {
        if (this.signal.aborted) return;
        if (error instanceof Lost) this.lost();
        else this.again();
      }
    }
  }

  /** `now` was told before the look: where the look found what is shown, that holds as of then. */
  private compareWith(looked: string | null, now: Freshness) {
    const { answer, lostAt } = this.shown;
    if (!answer || lostAt || looked !== says(answer.summary, answer.range, answer.freshness)) {
      this.update({ lostAt: null });
      return this.again();
    }
    const { as_of, lag_seconds, layers } = now;
    const batch = { ...answer.freshness.layers.batch, age_seconds: layers.batch.age_seconds };
    const speed = { ...answer.freshness.layers.speed, as_of: layers.speed.as_of };
    this.update({ freshness: { ...answer.freshness, as_of, lag_seconds, layers: { speed, batch } } });
  }

  private listen() {
    const query = new URLSearchParams({ timezone: this.timezone, traffic: this.view.traffic });
    const listener = {
      told: (live: Told) => {
        this.update({ live });
        this.heard(live);
      },
      connected: (connected: boolean) => this.update({ connected }),
    };
    void follow(`${this.subject}/live?${query}`, this.credential, listener, this.stream.signal);
  }

  /** Asks again where the stream counts others than the answer does. Without an answer, one is on its way. */
  private heard(live: Told | null) {
    const today = this.shown.answer?.today;
    if (live && today && (live.clicks !== today.clicks || live.bots !== today.bots)) this.again();
  }

  /** A stream goes on with its day; for a new one it is opened anew. */
  private turnDay() {
    const since = this.shown.live?.since;
    if (!since || date(new Date(since), this.timezone) === date(new Date(), this.timezone)) return;
    this.stream.abort();
    this.stream = new AbortController();
    this.update({ live: null });
    this.listen();
    this.again();
  }
}

/** A summary that was looked at. */
interface Looked {
  results: Summary;
  meta: { range: Range; freshness: Freshness };
}

/** What tells one answer from another: its counts, its range, and what it rests on. */
function says({ comparison, ...counts }: Summary, range: Range, { gaps, layers }: Freshness): string {
  const { speed, batch } = layers;
  return JSON.stringify([counts, range, gaps, speed.state, batch.state, batch.publication]);
}
