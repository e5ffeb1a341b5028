/** The map's shapes: they come when they are first needed, after the first chart. */

import world from "linktide:world";

export default world;
