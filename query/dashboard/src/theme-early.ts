/** Sets the chosen colours before anything is painted. */

import { applyTheme, chosenTheme } from "./state/theme.ts";

applyTheme(chosenTheme());
