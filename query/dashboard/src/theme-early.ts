/** Sets the chosen colours before anything is painted. */

import { beginTheme } from "./state/theme.ts";

beginTheme();
