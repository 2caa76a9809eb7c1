/**
 * The texts that were begun on a device and not sent, in the tab's own storage: that outlives a reload, a crash, and a browser that
 * throws a hidden tab out of memory. Another tab of the device writes its own.
 */

export class Drafts {
  #key;

  constructor(device, { storage = globalThis.sessionStorage } = {}) {
    this.#key = `lockstep.drafts:${device}`;
    this.storage = storage;
  }

  /** What was kept: conversation -> [{body, message?, version?}]. */
  load() {
    return new Map(JSON.parse(this.storage.getItem(this.#key) ?? "[]"));
  }

  /** Keeps the texts; their files can't be. */
  save(drafts) {
    const texts = [...drafts].map(([conversation, all]) => [conversation, all.filter(({ body }) => body).map(text)]);
    try {
      this.storage.setItem(this.#key, JSON.stringify(texts.filter(([, all]) => all.length)));
    } catch {
      // There is no room: they are on the screen.
    }
  }

  clear() {
    this.storage.removeItem(this.#key);
  }
}

function text({ body, message, version }) {
  return { body, message, version };
}
