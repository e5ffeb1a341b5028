/** The view in the address, the session that keeps it up to date, and the clock, for components. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Credential } from "../api/access.ts";
import { NOTHING, Session, type Shown } from "./session.ts";
import { formatView, parseView, type View } from "./view.ts";

/** What a step in the view means for the browser's history: `step` can be gone back from. */
export type Change = (view: View, kind?: "step" | "touch") => void;

export function useView(): [View, Change] {
  const [view, setView] = useState(() => parseView(location.search));
  useEffect(() => {
    const back = () => setView(parseView(location.search));
    addEventListener("popstate", back);
    return () => removeEventListener("popstate", back);
  }, []);
  const change = useCallback<Change>((next, kind = "step") => {
    const place = `${location.pathname}${formatView(next)}${location.hash}`;
    if (kind === "step") history.pushState(null, "", place);
    else history.replaceState(null, "", place);
    setView(next);
  }, []);
  return [view, change];
}

export interface Current extends Shown {
  /** What is shown belongs to the view before. */
  old: boolean;
}

/** What is known of a view. While a new range of the same link loads, what was there stays, and says that it is old. */
export function useSession(view: View, timezone: string, credential: Credential | null, round: number): Current {
  // Which tab is open, and what the list of links is searched for, is not asked for together.
  const { tabs, search, ...asked } = view;
  const key = JSON.stringify([asked, timezone, credential?.token, round]);
  const [current, setCurrent] = useState<Current & { key: string }>({ ...NOTHING, old: false, key });
  const link = useRef(view.link);
  useEffect(() => {
    const same = link.current === view.link;
    link.current = view.link;
    setCurrent(before => {
      const kept = { freshness: before.freshness, lostAt: before.lostAt };
      return same && before.answer
        ? { ...NOTHING, ...kept, answer: before.answer, compared: before.compared, live: before.live, old: true, key }
        : { ...NOTHING, ...kept, old: false, key };
    });
    const session = new Session(view, timezone, credential, shown =>
      setCurrent(before => ({
        ...shown,
        answer: shown.answer ?? before.answer,
        compared: shown.answer ? shown.compared : before.compared,
        live: shown.live ?? before.live,
        freshness: shown.freshness ?? before.freshness,
        old: before.old && shown.answer === null,
        key,
      })),
    );
    session.begin();
    return () => session.end();
  }, [key]);
  // A refusal of another view, or of another key, says nothing of this one: it was not asked for yet.
  return current.key === key ? current : { ...current, problem: null, waiting: null, old: current.answer !== null };
}

/** The present, every so often. */
export function useNow(everyMs: number): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** Counts up whenever the colours change: a canvas does not notice by itself. */
export function useColors(): number {
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    const changed = () => setChanges(before => before + 1);
    const colors = new MutationObserver(changed);
    colors.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => colors.disconnect();
  }, []);
  return changes;
}
