import type { Told, Traffic } from "../api/types.ts";
import { count } from "../words/format.ts";

const WHO: Record<Traffic, string> = { human: "clicks today", bot: "bot clicks today", all: "clicks and bots today" };

interface Props {
  live: Told | null;
  connected: boolean;
  /** Whether recent clicks are counted. */
  counting: boolean;
  traffic: Traffic;
}

/** Clicks since midnight, as they come. */
export function LiveCounter({ live, connected, counting, traffic }: Props) {
  if (!live) return null;
  const news = live.new.clicks > 0 && live.new.clicks < live.clicks ? live.new.clicks : 0;
  const goes = connected && counting;
  // A stream that begins without a layer has nothing to tell: that is no count of none.
  const unknown = live.stale && live.clicks === 0;
  return (
    <p class="live" data-goes={goes}>
      <span class="pulse" key={live.clicks} aria-hidden="true" />
      <b data-testid="live">{unknown ? "–" : count(live.clicks)}</b> {WHO[traffic]}
      {goes ? (
        <span class="new" aria-hidden="true">
          {news > 0 ? `+${count(news)}` : ""}
        </span>
      ) : (
        <span>(paused)</span>
      )}
    </p>
  );
}
