/** What a bucket of a series can be relied on for, and a series in a sentence. */

import type { Bucket, Unit } from "../api/types.ts";
import { bucketName, count, plural } from "./format.ts";

/** `final`: rests on history alone. `provisional`: the last hours are in it. `partial`: it may lack clicks of its own time. */
export type Certainty = "final" | "provisional" | "partial";

export function certainty(bucket: Bucket): Certainty {
  if (bucket.partial) return "partial";
  return bucket.layers.includes("speed") ? "provisional" : "final";
}

/** For whoever does not see the chart. */
export function seriesInWords(buckets: Bucket[], unit: Unit, timezone: string): string {
  const total = buckets.reduce((sum, bucket) => sum + bucket.clicks, 0);
  const most = buckets.reduce<Bucket | null>((best, one) => (best && best.clicks >= one.clicks ? best : one), null);
  if (!most || total === 0) return "No clicks.";
  const name = bucketName(most.start, most.end, unit, timezone);
  const unsure = buckets.filter(bucket => certainty(bucket) !== "final").length;
  const rest = unsure > 0 ? ` ${plural(unsure, "bar")} may still change.` : "";
  return `${count(total)} clicks in ${plural(buckets.length, "bar")}; most in ${name} with ${count(most.clicks)}.${rest}`;
}
