import { useState } from "preact/hooks";
import type { Credential } from "../api/access.ts";
import type { Problem } from "../api/types.ts";

interface Props {
  enter: (key: string) => void;
  problem: Problem | null;
  /** What was refused. */
  had: Credential | null;
}

/** Asks for a key where the service requires one. */
export function KeyPrompt({ enter, problem, had }: Props) {
  const [key, setKey] = useState("");
  if (had?.link)
    return (
      <section class="prompt">
        <h1>This share link is over</h1>
        <p>It has expired or was taken back. Ask whoever sent it for another.</p>
        <p class="quiet">{problem?.detail}</p>
      </section>
    );
  return (
    <section class="prompt">
      <h1>Sign in with a key</h1>
      <p>
        These numbers are not for everyone. Enter an API key with the scope <code>read</code>; it is kept until this tab
        is closed, and sent to this service alone.
      </p>
      <form
        onSubmit={event => {
          event.preventDefault();
          if (key.trim()) enter(key.trim());
        }}
      >
        <label>
          <span>API key</span>
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            placeholder="lt_…"
            value={key}
            aria-invalid={had !== null}
            aria-describedby={had ? "key-refused" : undefined}
            onInput={event => setKey(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary">
          Show the numbers
        </button>
        {had && (
          <p id="key-refused" role="alert">
            This key was not taken: {problem?.detail}
          </p>
        )}
      </form>
      <p class="quiet">
        Whoever runs this service makes one: <code>linktide keys create --scope read,export --name dashboard</code>
      </p>
    </section>
  );
}
