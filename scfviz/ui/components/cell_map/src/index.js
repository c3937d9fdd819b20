// Two kinds of instances share this module: channels, which carry bytes, and maps, which are seen.
import { CellMap } from "./cell_map.js";
import { receive, release } from "./channels.js";

const maps = new WeakMap();

export default function render({ data, parentElement, setStateValue }) {
  if (data instanceof Uint8Array) {
    receive(parentElement, data);
    return () => release(parentElement);
  }
  let map = maps.get(parentElement);
  if (!map) {
    map = new CellMap(parentElement);
    maps.set(parentElement, map);
  }
  map.update(data, setStateValue);
  return () => {
    map.destroy();
    maps.delete(parentElement);
  };
}
