/**
 * The live stream. `EventSource` sends no header with a key, so the stream is read here: the same events, and after a break
 * the same `Last-Event-ID`, so that no click is told twice or left out.
 */

import type { Credential } from "./access.ts";
import type { Told } from "./types.ts";

export interface Event {
  name: string;
  id: string | null;
  data: string;
}

/** Takes a stream's text piece by piece and gives its events (the rules of the HTML standard, but for `retry`). */
export class Events {
  private rest = "";
  private event: Event = { name: "message", id: null, data: "" };

  *take(piece: string): Generator<Event> {
    this.rest += piece;
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.event.data) yield this.event;
        this.event = { name: "message", id: null, data: "" };
      } else this.line(line);
    }
  }

  private line(line: string) {
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "data") this.event.data += this.event.data ? `\n${value}` : value;
    if (field === "event") this.event.name = value;
    if (field === "id") this.event.id = value;
  }
}

/** How long to wait before the next try, by how many failed. */
export function pause(failed: number): number {
  return Math.min(500 * 2 ** failed, 15_000);
}

export interface Listener {
  told(told: Told): void;
  connected(is: boolean): void;
}

/** Follows a stream until the signal is aborted. A refusal ends it: what may not be heard, or makes no sense, is not by trying. */
export async function follow(place: string, credential: Credential | null, listener: Listener, signal: AbortSignal) {
  let last: string | null = null;
  let failed = 0;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (credential) headers.authorization = `Bearer ${credential.token}`;
      if (last) headers["last-event-id"] = last;
      const response = await fetch(place, { headers, signal, cache: "no-store", credentials: "omit" });
      const { status } = response;
      if (status >= 400 && status < 500 && status !== 429) return;
      if (response.ok && response.body) {
        listener.connected(true);
        const [events, reader] = [new Events(), response.body.pipeThrough(new TextDecoderStream()).getReader()];
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
          failed = 0;
          for (const event of events.take(piece.value)) {
            if (event.name !== "counts") continue;
            last = event.id;
            listener.told(JSON.parse(event.data) as Told);
          }
        }
      }
    } catch {
      // It is tried again below, whatever broke it.
    }
    if (signal.aborted) return;
    listener.connected(false);
    await wait(pause(failed++), signal);
  }
}

export function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
