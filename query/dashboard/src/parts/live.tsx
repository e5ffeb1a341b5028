import type { Told, Traffic } from "../api/types.ts";
import { count } from "../words/format.ts";

const WHO: Record<Traffic, string> = { human: "clicks today", bot: "bot clicks today", all: "clicks and bots today" };

/** Clicks since midnight, as they come. */
export function LiveCounter({ live, connected, traffic }: { live: Told | null; connected: boolean; traffic: Traffic }) {
  if (!live) return null;
  const news = live.new.clicks > 0 && live.new.clicks < live.clicks ? live.new.clicks : 0;
  return (
    <p class="live" data-connected={connected}>
      <span class="pulse" key={live.clicks} aria-hidden="true" />
      <b data-testid="live">{count(live.clicks)}</b> {WHO[traffic]}
      <span class="new" aria-hidden="true">
        {news > 0 ? `+${count(news)}` : ""}
      </span>
      {!connected && <span class="quiet"> (reconnecting)</span>}
    </p>
  );
}
