// The map of the world as a module, `linktide:world`: shapes of countries by their two letters, as paths of an SVG that
// were projected when the page was built. The geometry is Natural Earth's, from the package `world-atlas`.

import { createRequire } from "node:module";
import { geoArea, geoCentroid, geoEqualEarth, geoPath } from "d3-geo";
import { feature } from "topojson-client";

const require = createRequire(import.meta.url);
const WIDTH = 960;
/** The south, without Antarctica: nobody clicks there, and it would take a fifth of the room. */
const SOUTHERNMOST = -57;
/** Countries that the coarse map leaves out for their size are drawn as points. */
const POINT = 1;

/** Two letters by the number in the atlas; Kosovo has no number, and the code that everyone uses for it. */
function codes() {
  const byNumber = new Map(require("i18n-iso-countries/codes.json").map(([two, , number]) => [number, two]));
  return country => byNumber.get(country.id) ?? (country.properties.name === "Kosovo" ? "XK" : undefined);
}

function countries(detail) {
  const atlas = require(`world-atlas/countries-${detail}.json`);
  return feature(atlas, atlas.objects.countries).features.filter(country => country.properties.name !== "Antarctica");
}

function project() {
  const frame = {
    type: "MultiPoint",
    coordinates: [
      [-180, 0],
      [180, 0],
      [0, 84],
      [0, SOUTHERNMOST],
    ],
  };
  const projection = geoEqualEarth().fitWidth(WIDTH, frame);
  const [[, top], [, bottom]] = geoPath(projection).bounds(frame);
  projection.translate([projection.translate()[0], projection.translate()[1] - top]);
  return { projection, height: Math.round(bottom - top) };
}

export function makeWorld() {
  const codeOf = codes();
  const { projection, height } = project();
  const path = geoPath(projection).digits(1);
  const shapes = countries("110m").map(country => [codeOf(country) ?? "", path(country)]);
  const drawn = new Set(shapes.map(([code]) => code));
  const points = countries("50m")
    .filter(country => codeOf(country) && !drawn.has(codeOf(country)) && geoArea(country) < POINT)
    .map(country => [codeOf(country), projection(geoCentroid(country)).map(Math.round)])
    .filter(([, [, y]]) => y < height);
  return { width: WIDTH, height, shapes, points };
}

export const world = {
  name: "world",
  setup(build) {
    build.onResolve({ filter: /^linktide:world$/ }, ({ path }) => ({ path, namespace: "world" }));
    build.onLoad({ filter: /.*/, namespace: "world" }, () => ({
      contents: JSON.stringify(makeWorld()),
      loader: "json",
    }));
  },
};
