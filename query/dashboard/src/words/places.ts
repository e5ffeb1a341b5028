/**
 * Places within places. A region's code begins with its country's (`US-CA`), a city's name ends with its region or country
 * (`Austin, US-TX`), so what lies in a place is picked out of all places by name. What the API did not list is told as a
 * remainder: the rows of a place always sum to the place.
 */

import type { Breakdown, Dimension, Value } from "../api/types.ts";
import type { Filter } from "../state/view.ts";

export interface Level {
  dimension: "country" | "region" | "city";
  values: Value[];
  /** What the rows sum to. */
  total: number;
}

export interface Step {
  name: string;
  filter: Filter | null;
}

/** What a city's name says it lies in: `Austin, US-TX` in `US-TX`. */
export function cityOf(city: string): string | null {
  const at = city.lastIndexOf(", ");
  return at < 0 ? null : city.slice(at + 2);
}

function countryOfRegion(region: string): string {
  return region.split("-")[0] ?? region;
}

/** The country that a place lies in, or is; none where the filter is no place, or one that is not known. */
export function countryOf(filter: Filter | null): string | null {
  const isPlace = filter?.dimension === "country" || filter?.dimension === "region" || filter?.dimension === "city";
  return filter && isPlace && !filter.value.startsWith("(") ? countryOfRegion(around(filter)) : null;
}

/** The region or country in which the cities of the chosen place lie. */
function around(filter: Filter): string {
  return filter.dimension === "city" ? (cityOf(filter.value) ?? filter.value) : filter.value;
}

function clicksOf(breakdown: Breakdown | undefined, value: string): number {
  return breakdown?.values.find(one => one.value === value)?.clicks ?? 0;
}

function within(inside: Value[], total: number): Value[] {
  const listed = inside.reduce((sum, value) => sum + value.clicks, 0);
  const rest = total - listed;
  const shares = inside.map(value => ({ ...value, share: total > 0 ? value.clicks / total : 0 }));
  return rest > 0 ? [...shares, { value: "(other)", clicks: rest, share: rest / total }] : shares;
}

/** The list below the map. */
export function level(filter: Filter | null, breakdowns: Map<Dimension, Breakdown>): Level {
  const countries = breakdowns.get("country");
  const regions = breakdowns.get("region");
  const cities = breakdowns.get("city");
  if (filter?.dimension === "country" && regions && !filter.value.startsWith("(")) {
    const inside = regions.values.filter(one => one.value.startsWith(`${filter.value}-`));
    const total = clicksOf(countries, filter.value);
    return { dimension: "region", values: within(inside, total), total };
  }
  if ((filter?.dimension === "region" || filter?.dimension === "city") && cities) {
    const place = around(filter);
    const inside = cities.values.filter(one => cityOf(one.value) === place);
    const whole = place.includes("-") ? clicksOf(regions, place) : clicksOf(countries, place);
    const total = Math.max(
      whole,
      inside.reduce((sum, one) => sum + one.clicks, 0),
    );
    return { dimension: "city", values: within(inside, total), total };
  }
  return { dimension: "country", values: countries?.values ?? [], total: countries?.total ?? 0 };
}

/** The way back out, from the world on. */
export function steps(filter: Filter | null, name: (country: string) => string): Step[] {
  const world: Step = { name: "World", filter: null };
  const isPlace = filter?.dimension === "country" || filter?.dimension === "region" || filter?.dimension === "city";
  if (!filter || !isPlace) return [world];
  const place = around(filter);
  const country = countryOfRegion(place);
  const path: Step[] = [world, { name: name(country), filter: { dimension: "country", value: country } }];
  if (place.includes("-")) path.push({ name: place, filter: { dimension: "region", value: place } });
  if (filter.dimension === "city")
    path.push({ name: filter.value.replace(/, [^,]*$/, ""), filter: { dimension: "city", value: filter.value } });
  return path;
}
