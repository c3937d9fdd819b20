// Bytes by id. Streamlit sends bytes only as the whole data of a component, so they come through invisible instances: 36 letters of
// id, 4 bytes of length (little-endian), the bytes, and padding that makes Streamlit cache the message.
const HEADER = 40;
const store = new Map();
const owners = new Map();
const waiting = new Set();

export function receive(owner, message) {
  const id = new TextDecoder().decode(message.subarray(0, 36));
  if (owners.get(owner) === id) return;
  const length = new DataView(message.buffer, message.byteOffset, HEADER).getUint32(36, true);
  // A copy at an aligned offset: typed arrays of floats need one, and the message can then be let go.
  store.set(id, message.slice(HEADER, HEADER + length));
  const last = owners.get(owner);
  owners.set(owner, id);
  if (last) drop(last);
  for (const wake of waiting) wake();
}

export function release(owner) {
  const id = owners.get(owner);
  owners.delete(owner);
  if (id) drop(id);
}

function drop(id) {
  if (![...owners.values()].includes(id)) store.delete(id);
}

export const bytesOf = (id) => store.get(id);

export function onArrival(wake) {
  waiting.add(wake);
  return () => waiting.delete(wake);
}
