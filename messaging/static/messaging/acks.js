/**
 * When a device acknowledges: the first frame of a connection at once, then at most every 100 ms for all conversations
 * together, or at once when half of the server's window is used.
 */

const ACK_MS = 100;

export class Acks {
  constructor() {
    this.restart();
  }

  /** A new connection: nothing is owed on it yet. `window` is the server's {messages, bytes}. */
  restart(window = {}) {
    const { messages = Infinity, bytes = Infinity } = window;
    Object.assign(this, { most: { messages, bytes }, used: { messages: 0, bytes: 0 }, owed: new Set(), last: null });
  }

  /** Something came that uses the window up. */
  count({ messages = 0, bytes = 0 }) {
    this.used.messages += messages;
    this.used.bytes += bytes;
  }

  /** The moment of the next acknowledgement (now, or later), or null if none is owed. */
  due(now) {
    if (!this.owed.size) return null;
    const { most, used, last } = this;
    const isHalf = used.messages * 2 >= most.messages || used.bytes * 2 >= most.bytes;
    return isHalf || last === null ? now : Math.max(now, last + ACK_MS);
  }

  /** The conversations to acknowledge now; nothing is owed after it. */
  take(now) {
    const owed = [...this.owed];
    this.owed.clear();
    Object.assign(this, { last: now, used: { messages: 0, bytes: 0 } });
    return owed;
  }
}
