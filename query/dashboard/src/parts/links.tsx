/** The links with the most clicks, found by their names, page by page. The first page comes with the view; others are asked for. */

import { useEffect, useState } from "preact/hooks";
import type { Credential } from "../api/access.ts";
import { getJson } from "../api/client.ts";
import { PAGE, whenParameters } from "../api/questions.ts";
import type { TopLinks as Page, TopLink } from "../api/types.ts";
import { formatView, type View } from "../state/view.ts";
import { count, known, percent, plural } from "../words/format.ts";
import { Card, UNFILTERED } from "./card.tsx";

interface Props {
  view: View;
  first: Page;
  timezone: string;
  credential: Credential | null;
  change: (view: View, kind?: "step" | "touch") => void;
}

/** Typing is over when nothing was typed for so long. */
const TYPED = 250;

interface Held {
  page: Page;
  /** How many links stand before it. */
  before: number;
}

/** The page behind these cursors. Until it is there, the one before it stays. Asked again whenever the view was answered anew. */
function usePage(props: Props, cursors: string[]): [Held, string | null] {
  const { view, first, timezone, credential } = props;
  const [held, setHeld] = useState<Held>({ page: first, before: 0 });
  const [error, setError] = useState<string | null>(null);
  const cursor = cursors.at(-1);
  const own = !view.search && !cursor;
  const when = JSON.stringify(view.when);
  useEffect(() => {
    setError(null);
    if (own) return setHeld({ page: first, before: 0 });
    const ended = new AbortController();
    const common = { ...whenParameters(view), timezone, traffic: view.traffic, limit: String(PAGE) };
    const query = new URLSearchParams(common);
    if (view.search) query.set("search", view.search);
    if (cursor) query.set("cursor", cursor);
    getJson<{ results: Page }>(`/v1/links?${query}`, credential, ended.signal)
      .then(({ results }) => setHeld({ page: results, before: cursors.length * PAGE }))
      .catch(error => {
        if (!ended.signal.aborted) setError(String(error.message ?? error));
      });
    return () => ended.abort();
  }, [own, view.search, cursor, when, timezone, view.traffic, credential?.token, first]);
  return [own ? { page: first, before: 0 } : held, error];
}

export function TopLinks(props: Props) {
  const { view, change, first } = props;
  // The cursors of the pages up to this one; the first page has none.
  const [cursors, setCursors] = useState<string[]>([]);
  const [typed, setTyped] = useState(view.search);
  const [{ page, before }, error] = usePage(props, cursors);
  // The way back in the browser's history leads to other words.
  useEffect(() => setTyped(view.search), [view.search]);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed === view.search) return;
      setCursors([]);
      change({ ...view, search: typed }, "touch");
    }, TYPED);
    return () => clearTimeout(timer);
  }, [typed, view, change]);
  const tools = (
    <label class="search">
      <span class="hidden">Find a link by its name, destination or number</span>
      <input
        type="search"
        placeholder="Find a link"
        maxLength={200}
        value={typed}
        onInput={event => setTyped(event.currentTarget.value)}
      />
    </label>
  );
  return (
    <Card title="Top links" id="links" wide tools={tools} note={view.filter ? UNFILTERED : null}>
      {error && <p role="alert">The list cannot be read: {error}</p>}
      {page.links.length === 0 && <p class="quiet">No link with clicks in this range is called that.</p>}
      {page.links.length > 0 && (
        <>
          <Rows page={page} total={first.total} before={before} view={view} change={change} />
          <nav class="pages" aria-label="Pages of links">
            <button type="button" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>
              Back
            </button>
            <span>
              {count(before + 1)}–{count(before + page.links.length)} of {plural(page.count, "link")}
            </span>
            <button
              type="button"
              disabled={!page.next}
              onClick={() => page.next && setCursors([...cursors, page.next])}
            >
              Next
            </button>
          </nav>
        </>
      )}
    </Card>
  );
}

interface RowsProps extends Pick<Props, "view" | "change"> {
  page: Page;
  total: number;
  before: number;
}

function Rows({ page, total, before, view, change }: RowsProps) {
  const unique = page.links.some(link => link.unique_clicks !== null);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Top links as a table">
      <table class="plain links" data-testid="links">
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">Place</span>
            </th>
            <th scope="col">Link</th>
            <th scope="col">Clicks</th>
            {unique && <th scope="col">Without repeats</th>}
            <th scope="col">Share</th>
          </tr>
        </thead>
        <tbody>
          {page.links.map((link, at) => (
            <tr key={link.link_id} data-link={link.link_id} data-clicks={link.clicks}>
              <td class="quiet">{before + at + 1}</td>
              <th scope="row">
                <LinkName link={link} view={view} change={change} />
              </th>
              <td>{count(link.clicks)}</td>
              {unique && <td data-unique={link.unique_clicks ?? ""}>{known(link.unique_clicks)}</td>}
              <td class="quiet">{total > 0 ? percent(link.clicks / total) : ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function LinkName({ link, view, change }: { link: TopLink } & Pick<Props, "view" | "change">) {
  const of: View = { ...view, link: link.link_id, filter: null, search: "" };
  const { slug, title, destination } = link.label ?? {};
  return (
    <>
      <a
        href={`/${formatView(of)}`}
        onClick={event => {
          // A new tab is the browser's to open.
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          change(of);
          scrollTo(0, 0);
        }}
      >
        {title ?? (slug ? `/${slug}` : `Link ${link.link_id}`)}
      </a>
      <small>{[title && slug ? `/${slug}` : null, destination].filter(Boolean).join(" · ")}</small>
    </>
  );
}
