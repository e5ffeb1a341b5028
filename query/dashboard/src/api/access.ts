/**
 * Who the page is, to the API. A key is kept for as long as the tab is open and sent as a header, never in an address. A
 * share link's token stands behind the `#` of the address, which browsers send to nobody.
 */

const PLACE = "linktide.key";
const SHARE = /^lts_[0-9A-Za-z]+_[0-9]+_([0-9]{1,20})_([0-9]+)_[0-9a-f]+$/;

export interface Credential {
  token: string;
  /** The one link that a share token opens. */
  link: string | null;
}

/** The link that a share token says it opens; whether it does is the API's to say. */
export function sharedLink(token: string): string | null {
  return SHARE.exec(token)?.[1] ?? null;
}

export function credentialOf(token: string): Credential {
  return { token, link: sharedLink(token) };
}

/** The token of the address. One that was put behind `?` is moved, so that it is not sent on, kept or logged again. */
function shareOfAddress(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get("share");
  const query = new URLSearchParams(location.search);
  const sent = query.get("share");
  if (sent === null) return token;
  query.delete("share");
  const rest = query.toString();
  history.replaceState(null, "", `${location.pathname}${rest ? `?${rest}` : ""}#share=${sent}`);
  return sent;
}

export function knownCredential(): Credential | null {
  const token = shareOfAddress() ?? sessionStorage.getItem(PLACE);
  return token ? credentialOf(token) : null;
}

export function keepKey(token: string): Credential {
  sessionStorage.setItem(PLACE, token);
  return credentialOf(token);
}

export function forgetKey(): void {
  sessionStorage.removeItem(PLACE);
}
