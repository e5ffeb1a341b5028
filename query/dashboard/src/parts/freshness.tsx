/** The badge that says how fresh the numbers are, and the notice for when that is not what it should be. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Freshness } from "../api/types.ts";
import { useNow } from "../state/hooks.ts";
import { moment, span } from "../words/format.ts";
import { type Level, type Told, tellFreshness } from "../words/freshness.ts";

interface Props {
  freshness: Freshness;
  lostAt: Date | null;
  timezone: string;
}

/** How often what is said of today and of ages is looked over. */
const LOOK = 10_000;

function useTold({ freshness, lostAt, timezone }: Props): Told {
  return tellFreshness(freshness, { lostAt }, useNow(LOOK), timezone);
}

export function FreshnessBadge(props: Props) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const { level, headline, sentences } = useTold(props);
  useLayoutEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      const key = event instanceof KeyboardEvent;
      if (key ? event.key === "Escape" : !box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", away);
    };
  }, [open]);
  return (
    <div class="freshness" ref={box}>
      <button type="button" class="badge" data-level={level} aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class="dot" aria-hidden="true" />
        <span data-testid="freshness">{headline}</span>
      </button>
      {open && (
        <div class="popover" role="region" aria-label="How fresh these numbers are">
          {sentences.map(sentence => (
            <p key={sentence}>{sentence}</p>
          ))}
          <Details {...props} />
        </div>
      )}
    </div>
  );
}

const SPEED = { ok: "counted", rebuilding: "being counted", unavailable: "cannot be read", not_asked: "not asked for" };
const BATCH = { ok: "complete", unavailable: "cannot be read," };

function Details({ freshness, timezone }: Props) {
  const now = useNow(LOOK);
  const at = (instant: string) => moment(new Date(instant), now, timezone, true);
  const { speed, batch } = freshness.layers;
  return (
    <dl>
      <dt>Recent clicks</dt>
      <dd>
        {SPEED[speed.state]}
        {speed.as_of && ` up to ${at(speed.as_of)}`}
      </dd>
      <dt>History</dt>
      <dd>
        {BATCH[batch.state]} up to {at(freshness.complete_through)}, published {span(batch.age_seconds)} ago as number{" "}
        {batch.publication}
      </dd>
      {[...freshness.reasons, ...freshness.gaps].map(reason => (
        <dd key={reason} class="exact">
          {reason}
        </dd>
      ))}
    </dl>
  );
}

const SPOKEN: Record<Level, string> = {
  fresh: "The numbers are up to date.",
  late: "Counting is behind.",
  missing: "Some clicks are missing from the numbers.",
  offline: "The connection is lost.",
};

/**
 * Says at the head of the page what is missing, and is not there where nothing is. What is read aloud changes only when the
 * state does, not with every second of it.
 */
export function Notice(props: Props) {
  const { level, headline, sentences } = useTold(props);
  return (
    <>
      <p role="status" class="hidden">
        {SPOKEN[level]}
      </p>
      {level !== "fresh" && (
        <div class="notice" data-level={level} data-testid="notice">
          <strong>{headline}.</strong> {sentences.join(" ")}
        </div>
      )}
    </>
  );
}
