/** The page: one view of all links or of one, and the ways to another. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Credential, forgetKey, keepKey, knownCredential } from "./api/access.ts";
import type { Problem } from "./api/types.ts";
import icon from "./icon.svg";
import { Kinds, Sources } from "./parts/breakdowns.tsx";
import { ExportDialog } from "./parts/export.tsx";
import { FreshnessBadge, Notice } from "./parts/freshness.tsx";
import { Headline } from "./parts/headline.tsx";
import { HeatmapCard } from "./parts/heatmap.tsx";
import { KeyPrompt } from "./parts/key.tsx";
import { TopLinks } from "./parts/links.tsx";
import { LiveCounter } from "./parts/live.tsx";
import { Places } from "./parts/places.tsx";
import { SeriesCard } from "./parts/series.tsx";
import { ShareDialog } from "./parts/share.tsx";
import { Empty, Refusal, Skeleton, Starting } from "./parts/states.tsx";
import { ThemeButton } from "./parts/theme.tsx";
import { Toolbar } from "./parts/toolbar.tsx";
import { type Current, useSession, useView } from "./state/hooks.ts";
import { USUAL, type View } from "./state/view.ts";
import { knowsZone } from "./words/format.ts";

function ownZone(): string {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return own && knowsZone(own) ? own : "UTC";
}

/** The zone of the address, or why there is none. */
function zoneOf(view: View, own: string): [string, Problem | null] {
  if (!view.timezone || knowsZone(view.timezone)) return [view.timezone ?? own, null];
  const detail = `This browser knows no time zone \`${view.timezone}\`.`;
  return ["UTC", { type: "", title: "Unknown time zone", status: 0, detail }];
}

/** A share link opens its own link, whatever else the address says. */
function viewFor(view: View, credential: Credential | null): View {
  return credential?.link ? { ...view, link: credential.link } : view;
}

function titleOf(view: View, current: Current): string {
  if (!view.link) return "All links";
  const label = current.answer?.summary.label;
  return label?.title ?? (label?.slug ? `/${label.slug}` : `Link ${view.link}`);
}

/** Another link is another page: whoever reads by ear or by keys begins at its head. */
function useArrival(link: string | null) {
  const seen = useRef(link);
  useEffect(() => {
    if (seen.current === link) return;
    seen.current = link;
    document.getElementById("main")?.focus({ preventScroll: true });
  }, [link]);
}

export function App() {
  const [addressed, change] = useView();
  const [credential, setCredential] = useState(knownCredential);
  const [round, setRound] = useState(0);
  const [open, setOpen] = useState<"export" | "share" | null>(null);
  const view = viewFor(addressed, credential);
  // A browser may name a zone that the service does not know.
  const [own, setOwn] = useState(ownZone);
  const [timezone, nowhere] = zoneOf(view, own);
  const session = useSession(view, timezone, credential, round);
  const current = nowhere ? { ...session, problem: session.problem ?? nowhere } : session;
  const title = titleOf(view, current);
  useEffect(() => {
    document.title = `${title} · Linktide`;
  }, [title]);
  useArrival(view.link);

  const refused = current.problem?.status;
  useEffect(() => {
    if (current.problem?.parameter === "timezone" && !view.timezone) setOwn("UTC");
  }, [current.problem, view.timezone]);
  const enter = (key: string) => {
    setCredential(keepKey(key));
    setRound(round + 1);
  };
  const leave = () => {
    forgetKey();
    setCredential(null);
    setRound(round + 1);
  };
  const shared = credential?.link != null;
  const body = useMemo(
    () => <Body view={view} timezone={timezone} current={current} change={change} credential={credential} />,
    [view.link, addressed, timezone, current, credential],
  );
  return (
    <>
      <a class="skip" href="#main">
        Skip to the numbers
      </a>
      <header class="top">
        <a
          class="brand"
          href={shared ? `/${location.hash}` : "/"}
          onClick={event => {
            event.preventDefault();
            if (!shared) change({ ...USUAL, when: view.when, timezone: view.timezone, traffic: view.traffic });
          }}
        >
          <img src={icon} alt="" width="28" height="28" />
          <span>Linktide</span>
        </a>
        <div class="now">
          <LiveCounter
            live={current.live}
            connected={current.connected}
            counting={current.freshness?.layers.speed.state === "ok"}
            traffic={view.traffic}
          />
          {current.freshness && (
            <FreshnessBadge freshness={current.freshness} lostAt={current.lostAt} timezone={timezone} />
          )}
        </div>
        <div class="actions">
          <button type="button" onClick={() => setOpen("share")}>
            Share
          </button>
          {!shared && (
            <button type="button" onClick={() => setOpen("export")}>
              Export
            </button>
          )}
          {credential && !shared && (
            <button type="button" onClick={leave}>
              Sign out
            </button>
          )}
          <ThemeButton />
        </div>
      </header>
      <main id="main" tabIndex={-1} aria-busy={current.old || (!current.answer && !current.problem)}>
        {refused === 401 ? (
          <KeyPrompt enter={enter} problem={current.problem} had={credential} />
        ) : (
          <>
            <div class="heading">
              <div>
                {view.link && !shared && (
                  <a
                    class="back"
                    href="/"
                    onClick={event => {
                      event.preventDefault();
                      change({ ...view, link: null, filter: null });
                    }}
                  >
                    All links
                  </a>
                )}
                <h1>{title}</h1>
                {view.link && <Destination current={current} link={view.link} />}
              </div>
              <Toolbar view={view} timezone={timezone} own={own} change={change} />
            </div>
            {current.freshness && <Notice freshness={current.freshness} lostAt={current.lostAt} timezone={timezone} />}
            {body}
          </>
        )}
      </main>
      <footer>
        <p>
          Visitors are estimated without cookies: an address counts once a day, and is never stored.{" "}
          <a href="/docs">The API behind this page</a>
        </p>
      </footer>
      {open === "share" && (
        <ShareDialog
          view={view}
          timezone={timezone}
          credential={credential}
          title={title}
          close={() => setOpen(null)}
        />
      )}
      {open === "export" && (
        <ExportDialog
          view={view}
          timezone={timezone}
          credential={credential}
          title={title}
          close={() => setOpen(null)}
        />
      )}
    </>
  );
}

function Destination({ current, link }: { current: Current; link: string }) {
  const label = current.answer?.summary.label;
  return (
    <p class="destination">
      <span>Link {link}</span>
      {label?.slug && label.title && <span>/{label.slug}</span>}
      {label?.destination && <span>to {label.destination}</span>}
    </p>
  );
}

interface BodyProps {
  view: View;
  timezone: string;
  current: Current;
  credential: Credential | null;
  change: (view: View, kind?: "step" | "touch") => void;
}

function Body({ view, timezone, current, credential, change }: BodyProps) {
  const { answer, problem, waiting, old, compared } = current;
  if (problem) return <Refusal problem={problem} reset={() => change({ ...USUAL, link: view.link })} />;
  if (!answer) return waiting ? <Starting problem={waiting} /> : <Skeleton lost={current.lostAt !== null} />;
  const nothing = answer.summary.clicks === 0 && answer.summary.bots === 0;
  return (
    <div class={old ? "parts old" : "parts"}>
      <Headline view={view} answer={answer} change={change} />
      {nothing && !view.filter ? (
        <Empty view={view} answer={answer} timezone={timezone} change={change} />
      ) : (
        <>
          <SeriesCard view={view} timezone={timezone} buckets={answer.series} compared={compared} change={change} />
          {!view.link && answer.links && (
            <TopLinks
              // The cursor of a page is of one range: another one begins with its first page.
              key={JSON.stringify([view.when, view.traffic, timezone])}
              view={view}
              first={answer.links}
              timezone={timezone}
              credential={credential}
              change={change}
            />
          )}
          <Places view={view} answer={answer} change={change} />
          <Sources view={view} answer={answer} change={change} />
          <HeatmapCard heatmap={answer.heatmap} timezone={timezone} />
          <Kinds view={view} answer={answer} change={change} />
        </>
      )}
    </div>
  );
}
