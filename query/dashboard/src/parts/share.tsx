/** Ways to show others what is seen here: the address for those who have a key, a share link for those who have none. */

import { useRef, useState } from "preact/hooks";
import type { Credential } from "../api/access.ts";
import { postJson, Refused } from "../api/client.ts";
import { formatView, type View } from "../state/view.ts";
import { day } from "../words/format.ts";
import { Dialog } from "./dialog.tsx";

interface Props {
  view: View;
  timezone: string;
  credential: Credential | null;
  title: string;
  close: () => void;
}

/** The address says the zone, too: whoever reads it elsewhere sees the same days. */
function address(view: View, timezone: string, share?: string): string {
  const place = `${location.origin}/${formatView({ ...view, timezone })}`;
  return share ? `${place}#share=${share}` : place;
}

/** Whether the text is on the clipboard now. A page that came without TLS has none of its own, and copies what is selected. */
async function copied(field: HTMLInputElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    field.select();
    return document.execCommand("copy");
  }
}

function Address({ label, text }: { label: string; text: string }) {
  const [done, setDone] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  return (
    <div class="address">
      <label>
        <span>{label}</span>
        <input ref={field} readOnly value={text} onFocus={event => event.currentTarget.select()} />
      </label>
      <button type="button" onClick={async () => setDone(field.current !== null && (await copied(field.current)))}>
        {done ? "Copied" : "Copy"}
      </button>
    </div>
  );
}

export function ShareDialog({ view, timezone, credential, title, close }: Props) {
  const shared = credential?.link != null;
  return (
    <Dialog title={`Share: ${title}`} close={close}>
      {shared ? (
        <Address label="This share link" text={address(view, timezone, credential?.token)} />
      ) : (
        <>
          <Address
            label={credential ? "For whoever has a key of their own" : "For whoever reaches this service"}
            text={address(view, timezone)}
          />
          {view.link && credential && (
            <MakeShare view={view} timezone={timezone} credential={credential} link={view.link} />
          )}
          {!view.link && credential && (
            <p class="quiet">To show one link to somebody without a key, open that link and share it from there.</p>
          )}
        </>
      )}
    </Dialog>
  );
}

function MakeShare(props: { view: View; timezone: string; credential: Credential; link: string }) {
  const { view, timezone, credential, link } = props;
  const [days, setDays] = useState("30");
  const [made, setMade] = useState<{ token: string; until: Date } | null>(null);
  const [refused, setRefused] = useState<string | null>(null);
  const make = async () => {
    const until = new Date(Date.now() + Number(days) * 86_400_000);
    try {
      const body = { link_id: link, expires_at: until.toISOString() };
      const { token } = await postJson<{ token: string }>("/v1/share-links", body, credential);
      setMade({ token, until });
      setRefused(null);
    } catch (error) {
      const scope = error instanceof Refused && error.problem.status === 403;
      setRefused(
        scope ? "Share links are made with a key that has the scope admin." : String((error as Error).message),
      );
    }
  };
  return (
    <section>
      <h3>For somebody without a key</h3>
      <p>A share link shows this one link's numbers to whoever has it, until it expires or is taken back.</p>
      {made ? (
        <Address
          label={`Shows this link until ${day(made.until, timezone, { year: "numeric" })}`}
          text={address(view, timezone, made.token)}
        />
      ) : (
        <div class="address">
          <label>
            <span>It works for</span>
            <select value={days} onChange={event => setDays(event.currentTarget.value)}>
              <option value="1">a day</option>
              <option value="7">7 days</option>
              <option value="30">30 days</option>
              <option value="90">90 days</option>
              <option value="365">a year</option>
            </select>
          </label>
          <button type="button" class="primary" onClick={make}>
            Make a share link
          </button>
        </div>
      )}
      {refused && <p role="alert">{refused}</p>}
    </section>
  );
}
