import type { ComponentChildren } from "preact";

/** What stands at a part that the filter does not narrow. */
export const UNFILTERED =
  "Of all clicks, without the filter: counts are kept by one dimension at a time. An export can combine them.";

interface Props {
  title: string;
  id: string;
  note?: ComponentChildren;
  tools?: ComponentChildren;
  /** Over the whole width, or two thirds of it. */
  wide?: boolean;
  two?: boolean;
  children: ComponentChildren;
}

export function Card({ title, id, note, tools, wide, two, children }: Props) {
  return (
    <section class={`card${wide ? " wide" : ""}${two ? " two" : ""}`} aria-labelledby={`${id}-title`} data-card={id}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        {tools}
      </header>
      {note && <p class="quiet note">{note}</p>}
      {children}
    </section>
  );
}

interface TabsProps<T extends string> {
  label: string;
  all: readonly T[];
  /** None where something else was chosen. */
  chosen: T | null;
  name: (tab: T) => string;
  choose: (tab: T) => void;
}

/** A choice among a few, each a button that says whether it is the one. */
export function Choice<T extends string>({ label, all, chosen, name, choose }: TabsProps<T>) {
  return (
    <div class="choice" role="group" data-choice={label} aria-label={label}>
      {all.map(one => (
        <button key={one} type="button" aria-pressed={one === chosen} onClick={() => choose(one)}>
          {name(one)}
        </button>
      ))}
    </div>
  );
}
