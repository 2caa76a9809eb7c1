/** One conversation as a device has it: cursor, messages, marks. What moves them is decided in `session.js`. */

import { announced } from "./announcements.js";

const KEPT_MESSAGES = 200; // newest messages that a store keeps, and an open tab; older ones come over REST

export class Conversation {
  constructor(id, saved = {}) {
    this.id = id;
    this.kind = saved.kind ?? "";
    this.title = saved.title ?? "";
    this.peer = saved.peer ?? null; // the other one of a direct conversation {user, username}, as REST told
    this.cursor = saved.cursor ?? null; // null until a feed has started
    this.floor = saved.floor ?? null; // from this position on no message is missing
    this.purged = saved.purged ?? 0; // what was gone for real when the feed began anew
    this.lastSeq = saved.lastSeq ?? 0;
    this.read = saved.read ?? 0; // by this device
    this.readElsewhere = saved.readElsewhere ?? 0; // by any device of the user, as REST told
    this.left = saved.left ?? null; // where the user's stay ended
    this.messages = new Map((saved.messages ?? []).map((message) => [message.id, message]));
    this.marks = new Map((saved.marks ?? []).map((mark) => [mark.device, mark]));
    this.summary = saved.summary ?? null;
    this.endSync();
  }

  /** Messages in screen order. */
  ordered() {
    return [...this.messages.values()].sort((one, other) => one.position - other.position);
  }

  /** Messages in screen order without holes; a change of a much older message waits below the floor. */
  visible() {
    return this.ordered().filter(({ position }) => this.floor === null || position >= this.floor);
  }

  /** Starts the feed at `since`, unless it has started. */
  begin(since) {
    if (this.cursor !== null) return;
    this.cursor = since;
    this.floor = Math.min(this.floor ?? Infinity, since + 1);
  }

  /** The one rule: takes changes where their range meets the cursor, and returns those that were news. */
  advance({ since, upto, messages }) {
    this.begin(since);
    if (since > this.cursor) this.wanted = Math.max(this.wanted, upto);
    if (since > this.cursor || upto <= this.cursor) return [];
    const news = messages.filter(({ seq }) => seq > this.cursor);
    for (const message of news) this.#take(message);
    this.cursor = upto;
    this.lastSeq = Math.max(this.lastSeq, upto);
    return news;
  }

  /** A new title is told by no frame but the message that announces it. */
  #take(message) {
    this.put(message);
    const { event, title } = announced(message);
    if (event === "title") this.title = title ?? "";
  }

  /** Shows what the server took at once; the feed brings it again, with more. */
  place({ frame, files: attachments }, { message, seq, position, version, created }, { device, user }) {
    const { type, client_id, body, kind, reply_to } = frame;
    const before = this.messages.get(message);
    // The answer to a repeat may name a later version, whose body only the feed knows.
    if (type === "send" && version === 1 && !before)
      this.put({ id: message, seq, position, version, created, kind, body, reply_to, attachments, client_id, device, user });
    if (type === "edit" && before?.version === version - 1) this.put({ ...before, seq, version, body, edited: Date.now() });
    if (type === "delete" && before?.version === version - 1)
      this.put({ ...before, seq, version, body: "", deleted: Date.now() });
  }

  /** Keeps the newest state of a message; the feed wins over an equal `seq`. */
  put(message) {
    const known = this.messages.get(message.id);
    if (known && known.seq > message.seq) return;
    this.messages.set(message.id, { kind: "text", body: "", version: 1, ...message });
  }

  /** Keeps the newest mark of a device: each number is the greatest seen. */
  putMark(mark) {
    const { delivered = 0, read = 0, ...known } = this.marks.get(mark.device) ?? {};
    const isNewer = (mark.delivered ?? 0) > delivered || (mark.read ?? 0) > read || !known.device;
    this.marks.set(mark.device, {
      ...(isNewer ? { ...known, ...mark } : known),
      delivered: Math.max(mark.delivered ?? 0, delivered),
      read: Math.max(mark.read ?? 0, read),
    });
  }

  /** Drops everything: of a database that is no more, or that was there before what is `purged`. */
  forget(purged) {
    this.messages.clear();
    this.marks.clear();
    Object.assign(this, { cursor: 0, purged, floor: 0, lastSeq: 0, read: 0, readElsewhere: 0, left: null, summary: null });
    this.endSync();
  }

  /** Lets go of older messages when they are many: with ten thousand of them a screen takes a second to be drawn. */
  trim() {
    if (this.messages.size < 2 * KEPT_MESSAGES) return;
    const { messages, floor } = this.#newest();
    Object.assign(this, { floor, messages: new Map(messages.map((message) => [message.id, message])) });
  }

  /** The newest messages, and where they begin to be without holes. */
  #newest() {
    const messages = this.ordered().slice(-KEPT_MESSAGES);
    const floor = messages.length < this.messages.size ? Math.max(this.floor ?? 0, messages[0].position) : this.floor;
    return { messages, floor };
  }

  /** No `sync` is under way, and no hole is known. */
  endSync() {
    this.syncing = null; // ref of the unanswered sync
    this.wanted = 0; // greatest `upto` seen beyond a hole
  }

  /** What a store keeps. Cursor and messages lie in one value, so that one never runs ahead of the other. */
  saved() {
    const { kind, title, peer, cursor, purged, lastSeq, read, readElsewhere, left, summary } = this;
    const known = { kind, title, peer, cursor, purged, lastSeq, read, readElsewhere, left, summary };
    return { ...known, ...this.#newest(), marks: [...this.marks.values()] };
  }
}
