/** Light or dark: as was chosen, or else as the system has it. */

type Theme = "light" | "dark";

const PLACE = "linktide.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function chosenTheme(): Theme | null {
  try {
    const chosen = localStorage.getItem(PLACE);
    return chosen === "light" || chosen === "dark" ? chosen : null;
  } catch {
    // A browser may keep nothing for anybody.
    return null;
  }
}

/** The page's colours go by this attribute alone: there is one list of dark ones. */
function applyTheme(): void {
  const theme = chosenTheme() ?? (system.matches ? "dark" : "light");
  document.documentElement.setAttribute("data-theme", theme);
}

/** Applies what was chosen, and follows the system while nothing is. */
export function beginTheme(): void {
  applyTheme();
  system.addEventListener("change", applyTheme);
}

export function chooseTheme(theme: Theme): void {
  document.documentElement.setAttribute("data-theme", theme);
  try {
    localStorage.setItem(PLACE, theme);
  } catch {
    // It holds for this page then, until the system's changes.
  }
}

export function isDark(): boolean {
  return document.documentElement.getAttribute("data-theme") === "dark";
}
