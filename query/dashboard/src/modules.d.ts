declare module "linktide:world" {
  /** Paths and points by the two letters of a country; paths of what has none have an empty text. */
  const world: { width: number; height: number; shapes: [string, string][]; points: [string, [number, number]][] };
  export default world;
}

declare module "*.css";

declare module "*.svg" {
  const place: string;
  export default place;
}
