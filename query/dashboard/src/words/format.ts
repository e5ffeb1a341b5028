/** Numbers, moments and names as people read them. The page speaks English; days are written so that nobody takes them for months. */

import type { Dimension, Uniques, Unit } from "../api/types.ts";

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export function count(clicks: number): string {
  return WHOLE.format(clicks);
}

/** For axes and tiles: 1.24M. */
export function short(clicks: number): string {
  return clicks < 10_000 ? count(clicks) : SHORT.format(clicks);
}

/** `= 97` where each was counted, `≈ 1.24M` where they are estimated. */
export function visitors({ estimate, method }: Pick<Uniques, "estimate" | "method">): string {
  return `${method === "exact" ? "=" : "≈"} ${short(estimate)}`;
}

/** How far an estimate may be off. */
export function certain({ method, standard_error }: Pick<Uniques, "method" | "standard_error">): string {
  return method === "exact" ? "each one counted" : `± ${percent(standard_error)}`;
}

/** A count that may not be known. */
export function known(number: number | null): string {
  return number === null ? "–" : count(number);
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** 0.123 is 12 %; what is little but something is not nothing. */
export function percent(share: number): string {
  const hundredths = share * 100;
  if (hundredths > 0 && hundredths < 0.1) return "< 0.1 %";
  const digits = Math.abs(hundredths) < 9.95 ? 1 : 0;
  return `${hundredths.toFixed(digits).replace(/\.0$/, "")} %`;
}

/** By how much there is more: 0.25 is 25 % more. */
export function change(by: number): string {
  if (Math.abs(by) < 0.0005) return "as many as";
  if (by >= 9.995) return `${count(Math.round(by + 1))} times as many as`;
  return `${percent(Math.abs(by))} ${by > 0 ? "more" : "fewer"} than`;
}

/** The same for a small badge: ▲ 25 %. */
export function delta(by: number): string {
  if (Math.abs(by) < 0.0005) return "±0 %";
  if (by >= 9.995) return `▲ ×${count(Math.round(by + 1))}`;
  return `${by > 0 ? "▲" : "▼"} ${percent(Math.abs(by))}`;
}

/** A time span in its largest unit, rounded down: nothing is made to look older. */
export function span(seconds: number): string {
  if (seconds < 90) return plural(Math.max(0, Math.floor(seconds)), "second");
  if (seconds < 90 * 60) return plural(Math.floor(seconds / 60), "minute");
  if (seconds < 36 * 3600) return plural(Math.floor(seconds / 3600), "hour");
  return plural(Math.floor(seconds / 86_400), "day");
}

const formats = new Map<string, Intl.DateTimeFormat>();

function inZone(timezone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${timezone} ${JSON.stringify(options)}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: timezone, hourCycle: "h23" });
    formats.set(key, format);
  }
  return format;
}

/** Whether the browser has the clocks of a zone. */
export function knowsZone(timezone: string): boolean {
  try {
    inZone(timezone, {});
    return true;
  } catch {
    return false;
  }
}

const DAY: Intl.DateTimeFormatOptions = { day: "numeric", month: "short" };
const TIME: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };

export function day(at: Date, timezone: string, options: Intl.DateTimeFormatOptions = {}): string {
  return inZone(timezone, { ...DAY, ...options }).format(at);
}

/** The day of the zone, as the API writes it: 2026-11-26. */
export function date(at: Date, timezone: string): string {
  const parts = inZone(timezone, { year: "numeric", month: "2-digit", day: "2-digit" }).formatToParts(at);
  const of = (type: string) => parts.find(part => part.type === type)?.value ?? "";
  return `${of("year")}-${of("month")}-${of("day")}`;
}

/** `Thu 26 Nov`: browsers do not agree on whether a comma stands between the two. */
function weekday(at: Date, timezone: string): string {
  return `${inZone(timezone, { weekday: "short" }).format(at)} ${day(at, timezone)}`;
}

/** The time alone where it is today's, else with its day. */
export function moment(at: Date, now: Date, timezone: string, seconds = false): string {
  const time = inZone(timezone, seconds ? { ...TIME, second: "2-digit" } : TIME).format(at);
  const sameDay = day(at, timezone, { year: "numeric" }) === day(now, timezone, { year: "numeric" });
  return sameDay ? time : `${day(at, timezone)}, ${time}`;
}

/** A bucket's name, long enough to stand alone. */
export function bucketName(start: string, end: string, unit: Unit, timezone: string): string {
  const [from, to] = [new Date(start), new Date(end)];
  const time = (at: Date) => inZone(timezone, TIME).format(at);
  switch (unit) {
    case "quarter":
    case "hour":
      return `${weekday(from, timezone)}, ${time(from)}–${time(to)}`;
    case "day":
      return weekday(from, timezone);
    case "week":
      return `${day(from, timezone)} – ${day(new Date(to.getTime() - 1), timezone)}`;
    case "month":
      return inZone(timezone, { month: "long", year: "numeric" }).format(from);
  }
}

/** A bucket's mark on the axis. */
export function bucketMark(start: string, unit: Unit, timezone: string): string {
  const at = new Date(start);
  if (unit === "month") return inZone(timezone, { month: "short", year: "2-digit" }).format(at);
  if (unit === "day" || unit === "week") return day(at, timezone);
  const time = inZone(timezone, TIME).format(at);
  return time === "00:00" ? day(at, timezone) : time;
}

/** The first and the last day of a range, whose end is not part of it. */
export function rangeDays(start: string, end: string, timezone: string): string {
  const [from, to] = [new Date(start), new Date(new Date(end).getTime() - 1)];
  const year = inZone(timezone, { year: "numeric" });
  const [first, last] = [day(from, timezone), day(to, timezone)];
  const [firstYear, lastYear] = [year.format(from), year.format(to)];
  if (firstYear !== lastYear) return `${first} ${firstYear} – ${last} ${lastYear}`;
  return first === last ? `${first} ${lastYear}` : `${first} – ${last} ${lastYear}`;
}

const regions = new Intl.DisplayNames("en", { type: "region" });
const languages = new Intl.DisplayNames("en", { type: "language" });

/** Whoever has no name keeps the code. */
function nameOf(names: Intl.DisplayNames, code: string): string {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

export function countryName(code: string): string {
  return nameOf(regions, code);
}

const WORDS: Partial<Record<Dimension, Record<string, string>>> = {
  referrer: { "(none)": "No referrer" },
  referrer_class: {
    direct: "Direct",
    internal: "Own pages",
    search: "Search",
    social: "Social",
    email: "Mail",
    ai: "AI assistants",
    other: "Other sites",
  },
  device: { desktop: "Desktop", mobile: "Phone", tablet: "Tablet", bot: "Bot" },
  trigger: { link: "Link", qr: "QR code" },
  continent: {
    AF: "Africa",
    AN: "Antarctica",
    AS: "Asia",
    EU: "Europe",
    NA: "North America",
    OC: "Oceania",
    SA: "South America",
  },
  utm_source: { "(none)": "Not set" },
  utm_medium: { "(none)": "Not set" },
  utm_campaign: { "(none)": "Not set" },
};

/** Why a click is a bot's (docs/bots.md has them all). */
const REASONS: Record<string, string> = {
  "(none)": "People",
  rate: "Too many clicks in a minute",
  "ua:isbot": "Known crawlers",
  "ua:preview": "Link previews of chats and mail",
  "ua:ai": "AI crawlers",
  "ua:library": "Programs and scripts",
  "ua:automation": "Automated browsers",
  "ua:monitor": "Uptime monitors",
  "ua:feed": "Feed readers",
  "ua:empty": "No user agent",
  "ua:bare": "A user agent that says nothing",
  "signal:webdriver": "Browsers driven by a program",
  "signal:ja4": "A fingerprint of programs",
  "signal:edge_score": "The edge's score",
  "signal:edge_forged": "A forged signature of the edge",
  "signal:edge_expired": "An old signature of the edge",
  "challenge:failed": "A challenge that was failed",
  "challenge:unanswered": "A challenge without an answer",
  "network:hosting": "Networks of rented machines",
};
const LISTS: Record<string, string> = {
  ua: "User agents of the list",
  network: "Networks of the list",
  hints: "Client hints that do not fit:",
  headers: "Headers of no browser:",
};

function reasonName(reason: string): string {
  const at = reason.indexOf(":");
  const [family, rest] = at < 0 ? [reason, ""] : [reason.slice(0, at), reason.slice(at + 1)];
  if (family === "suspected") return `Suspected: ${reasonName(rest)}`;
  if (family === "several") return `Several signs: ${reasonName(rest)}`;
  const known = REASONS[reason];
  if (known) return known;
  return rest && LISTS[family] ? `${LISTS[family]} ${rest.replaceAll("_", " ")}` : reason;
}

const TITLES: Record<Dimension, string> = {
  country: "Country",
  region: "Region",
  city: "City",
  continent: "Continent",
  referrer: "Referrer",
  referrer_class: "Channel",
  device: "Device",
  browser: "Browser",
  os: "System",
  utm_source: "Source",
  utm_medium: "Medium",
  utm_campaign: "Campaign",
  trigger: "Link or QR code",
  language: "Language",
  bot_reason: "Bots by reason",
};

export function dimensionTitle(dimension: Dimension): string {
  return TITLES[dimension];
}

/** The API's value of a dimension in words. */
export function valueName(dimension: Dimension, value: string): string {
  const word = WORDS[dimension]?.[value];
  if (word) return word;
  if (value === "(other)") return "Everything else";
  if (dimension === "bot_reason") return reasonName(value);
  if (value === "(none)") return "Unknown";
  if (dimension === "country") return countryName(value);
  if (dimension === "language") return nameOf(languages, value);
  return value;
}
