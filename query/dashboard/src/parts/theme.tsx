import { useColors } from "../state/hooks.ts";
import { chooseTheme, isDark } from "../state/theme.ts";

/** Turns light into dark and back; what the system has is where it begins. */
export function ThemeButton() {
  useColors();
  const dark = isDark();
  return (
    <button
      type="button"
      class="icon"
      aria-label={dark ? "Use light colours" : "Use dark colours"}
      onClick={() => chooseTheme(dark ? "light" : "dark")}
    >
      <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
        {dark ? (
          <path
            fill="none"
            stroke="currentColor"
            stroke-width="2"
            stroke-linecap="round"
            d="M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2m0 16v2M2 12h2m16 0h2M5 5l1.5 1.5m11 11L19 19M5 19l1.5-1.5m11-11L19 5"
          />
        ) : (
          <path
            fill="none"
            stroke="currentColor"
            stroke-width="2"
            stroke-linejoin="round"
            d="M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z"
          />
        )}
      </svg>
    </button>
  );
}
