/**
 * Where a device keeps what must outlive its connection: `MemoryStore` for a visit, `LocalStore` for good.
 *
 * Laws: an outbox entry is stored before it is sent, under a key of its own, so that two tabs of one device never overwrite
 * each other's; one that finds no room takes that of stored messages, or waits for some. A cursor is stored together with
 * the messages it covers and the epoch it is of, a little later: what a killed tab had not stored yet, the server sends again.
 */

const LATER_MS = 250; // conversations change often; they are written at most four times a second

/** Forgets everything when the page goes. */
export class MemoryStore {
  load() {
    return {};
  }

  others() {
    return [];
  }

  save() {}

  flush() {}

  clear() {}
}

/** Keeps one device in localStorage under `name`; survives a reload and a killed tab. */
export class LocalStore {
  #prefix;
  #due = null;
  #dirty = new Set();
  #roomless = new Set(); // outbox entries that are to be stored
  #session = null;
  #isForgotten = false;
  #counter = 0;
  #newest = 0; // moment in the key of the newest outbox entry: a clock that was set back must not turn their order

  constructor(name, { storage = globalThis.localStorage, page = globalThis } = {}) {
    this.#prefix = `lockstep:${name}:`;
    this.storage = storage;
    page.addEventListener?.("pagehide", () => this.#flushLater());
  }

  /** What was kept: the value that `Session` takes as `saved`. */
  load() {
    const session = this.#get(`${this.#prefix}session`);
    const known = this.#keys("conversation:").map((key) => [key.split(":").at(-1), this.#get(key)]);
    // A tab that slept while the database was restored may have stored what it had of the one before.
    const conversations = Object.fromEntries(known.filter(([, { epoch }]) => epoch === undefined || epoch === session?.epoch));
    const outbox = this.others([]);
    const keys = outbox.map(({ key }) => key);
    this.#newest = Math.max(0, ...keys.map((key) => Number.parseInt(key.slice(`${this.#prefix}outbox:`.length), 10) + 1));
    return { ...session, conversations, outbox };
  }

  /** The outbox entries that are stored and not among these: another tab of the device has asked, and may be gone. */
  others(entries) {
    const known = new Set(entries.map(({ key }) => key));
    const keys = this.#keys("outbox:").filter((key) => !known.has(key));
    return keys.sort().map((key) => ({ ...this.#get(key), key }));
  }

  /** Stores what a `take()` says has changed. Throws if the storage is full. */
  save({ session, conversations, added, removed }, current) {
    if (this.#isForgotten) return; // an answer may have been on its way
    this.#session = current;
    for (const entry of removed) {
      this.#roomless.delete(entry);
      if (entry.key) this.storage.removeItem(entry.key);
    }
    for (const id of conversations) this.#dirty.add(id);
    for (const entry of added) this.#take(entry);
    if (this.#dirty.size || this.#roomless.size) this.#due ??= setTimeout(() => this.#flushLater(), LATER_MS);
    if (session) this.flush();
    else if (added.length) this.#flushOutbox();
  }

  /** Gives an outbox entry its key: these are in the order in which they were asked. */
  #take(entry) {
    this.#newest = Math.max(this.#newest, Date.now());
    entry.key = `${this.#prefix}outbox:${this.#newest}-${String((this.#counter += 1)).padStart(6, "0")}:${entry.id}`;
    this.#roomless.add(entry);
  }

  #flushOutbox() {
    for (const entry of this.#roomless) {
      try {
        this.#put(entry.key, entry);
      } catch {
        this.#makeRoom();
        this.#put(entry.key, entry);
      }
      this.#roomless.delete(entry);
    }
  }

  /** Drops what the server has, too: a request that waits is nowhere else. */
  #makeRoom() {
    for (const key of this.#keys("conversation:")) {
      const known = this.#get(key);
      const floor = known.cursor === null ? null : known.cursor + 1; // without a feed nothing is known to be whole
      if (known.messages.length) this.#put(key, { ...known, messages: [], floor });
    }
  }

  /** What finds no room waits for the next change: the server has it. */
  #flushLater() {
    try {
      this.flush();
    } catch {
      // There will be room, or the tab ends: it is asked for again.
    }
  }

  /** Stores what waits. Conversations go before the epoch their cursors belong to. */
  flush() {
    clearTimeout(this.#due);
    this.#due = null;
    if (!this.#session) return;
    this.#flushOutbox();
    const { conversations, device, user, epoch, unsettled } = this.#session;
    for (const id of this.#dirty) this.#putIfRoom(`${this.#prefix}conversation:${id}`, { ...conversations.get(id).saved(), epoch });
    this.#dirty.clear();
    this.#put(`${this.#prefix}session`, { device, user, epoch, unsettled: [...unsettled] });
  }

  /** Forgets the device, for good: nothing more of it is stored. */
  clear() {
    clearTimeout(this.#due);
    this.#session = null;
    this.#isForgotten = true;
    for (const key of this.#keys("")) this.storage.removeItem(key);
  }

  #keys(part) {
    return Object.keys(this.storage).filter((key) => key.startsWith(this.#prefix + part));
  }

  #get(key) {
    return JSON.parse(this.storage.getItem(key) ?? "null");
  }

  /** What finds no room stays as it was stored before, until it changes again: the server has the rest. */
  #putIfRoom(key, value) {
    try {
      this.#put(key, value);
    } catch {
      // Others may find some.
    }
  }

  #put(key, value) {
    this.storage.setItem(key, JSON.stringify(value));
  }
}
