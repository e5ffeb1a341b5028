/** Light, dark, or as the system has it. */

export type Theme = "system" | "light" | "dark";

const PLACE = "linktide.theme";

export function chosenTheme(): Theme {
  try {
    const chosen = localStorage.getItem(PLACE);
    return chosen === "light" || chosen === "dark" ? chosen : "system";
  } catch {
    // A browser may keep nothing for anybody.
    return "system";
  }
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
}

export function chooseTheme(theme: Theme): void {
  applyTheme(theme);
  try {
    if (theme === "system") localStorage.removeItem(PLACE);
    else localStorage.setItem(PLACE, theme);
  } catch {
    // It holds for this page then.
  }
}

export function isDark(): boolean {
  const theme = document.documentElement.getAttribute("data-theme");
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
