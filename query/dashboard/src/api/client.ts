/** Requests to the API of this origin, and what may come of them. */

import type { Credential } from "./access.ts";
import type { Problem } from "./types.ts";

/** The API understood and said no. */
export class Refused extends Error {
  constructor(
    readonly problem: Problem,
    /** Seconds to wait before another try. */
    readonly retryAfter: number | null,
  ) {
    super(problem.detail || problem.title);
  }
}

/** Nobody answered, or something that is not the API. */
export class Lost extends Error {}

/** How long an answer may take. The API's own deadline is shorter. */
const PATIENCE = 20_000;

function headers(credential: Credential | null, more: Record<string, string> = {}): Record<string, string> {
  return credential ? { ...more, authorization: `Bearer ${credential.token}` } : more;
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    return (await response.json()) as Problem;
  } catch {
    const title = `the service answered ${response.status}`;
    return { type: "", title, status: response.status, detail: title };
  }
}

/** Sends a request; anything but a success, or a 304 where one is looked for, is an error. */
export async function send(
  place: string,
  credential: Credential | null,
  init: RequestInit = {},
  patience = PATIENCE,
): Promise<Response> {
  const late = AbortSignal.timeout(patience);
  const signal = init.signal ? anyOf(init.signal, late) : late;
  let response: Response;
  try {
    const given = init.headers as Record<string, string> | undefined;
    response = await fetch(place, { ...init, signal, headers: headers(credential, given), credentials: "omit" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Lost(String(error));
  }
  if (response.ok || response.status === 304) return response;
  if (response.status === 502 || response.status === 504) throw new Lost(`a proxy answered ${response.status}`);
  const after = Number(response.headers.get("retry-after"));
  throw new Refused(await problemOf(response), Number.isFinite(after) && after > 0 ? after : null);
}

/** `AbortSignal.any`, which not every browser in use has. */
function anyOf(...signals: AbortSignal[]): AbortSignal {
  const either = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) either.abort(signal.reason);
    signal.addEventListener("abort", () => either.abort(signal.reason), { once: true });
  }
  return either.signal;
}

export async function getJson<T>(place: string, credential: Credential | null, signal?: AbortSignal): Promise<T> {
  const response = await send(place, credential, signal ? { signal } : {});
  return read<T>(response);
}

export async function postJson<T>(
  place: string,
  body: unknown,
  credential: Credential | null,
  signal?: AbortSignal,
): Promise<T> {
  const init: RequestInit = {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  };
  return read<T>(await send(place, credential, signal ? { ...init, signal } : init));
}

async function read<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw new Lost(`an answer broke off: ${error}`);
  }
}

/** Looks at an answer again and again; it is read only where it has changed since. */
export class Watcher<T> {
  private etag: string | null = null;

  constructor(
    private readonly place: string,
    private readonly credential: Credential | null,
  ) {}

  /** The answer, or none where it is as it was. */
  async changed(signal: AbortSignal): Promise<T | null> {
    const known: Record<string, string> = this.etag ? { "if-none-match": this.etag } : {};
    const response = await send(this.place, this.credential, { signal, headers: known });
    if (response.status === 304) return null;
    const answer = await read<T>(response);
    this.etag = response.headers.get("etag");
    return answer;
  }
}
