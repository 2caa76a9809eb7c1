/**
 * How users are here, as this device was told (`Others`), and what it tells the server of its own user (`Wishes`).
 *
 * Laws: by its first `presence` frame that is neither stale nor an answer a session has named everybody who is not simply
 * offline, every later one only changes.
 * A wish lasts until it is answered, over reconnects; one frame of a kind is under way at a time, and what is wished
 * meanwhile goes out together, after its answer.
 */

const STATUS = /^[^\0\p{Surrogate}]{0,140}$/u; // what the server stores as a text

/** The newest presence told of each user; who is not in it is offline, as far as one can know. */
export class Others {
  #named = new Set(); // by the session; null once that is everybody who is not offline

  constructor() {
    this.users = new Map(); // user -> {user, state, text?, until?, last_seen?, invisible?, devices?}
    this.stale = true; // what is known may be wrong by now
  }

  /** A new session is open. */
  restart() {
    this.#named = new Set();
  }

  /** The connection is lost: what is known stays, but may be wrong by now. */
  lose() {
    this.stale = true;
  }

  heard({ users = [], stale = false, ref = null }) {
    for (const one of users) {
      this.users.set(one.user, one);
      this.#named?.add(one.user);
    }
    this.stale = stale;
    if (this.#named === null || ref !== null || stale) return;
    for (const user of this.users.keys()) if (!this.#named.has(user)) this.users.delete(user);
    this.#named = null;
  }
}

/** What the app wishes the server to know. */
export class Wishes {
  #kinds = [new Wish("presence.set"), new Wish("presence.watch")];

  constructor() {
    Object.assign(this, { state: "online", watched: [] });
  }

  /** Says how the user is here {state?, text?, until?, invisible?}; what is left out stays as it is. */
  set({ state, text, until, invisible }) {
    if (text !== undefined && !STATUS.test(text)) throw new RangeError("a status has at most 140 characters, and no NUL or lone surrogate");
    this.state = state ?? this.state;
    const given = Object.entries({ state, text, until, invisible }).filter(([, value]) => value != null);
    this.#kinds[0].want(Object.fromEntries(given));
  }

  /** Watches exactly these users, besides those whom the server shows anyway. */
  watch(users) {
    this.watched = [...users];
    this.#kinds[1].want({ users: this.watched });
  }

  /** A new session is open: it is online and watches nobody, unless it is told otherwise. */
  restart() {
    const [set, watch] = this.#kinds;
    set.restart(this.state === "online" ? {} : { state: this.state });
    watch.restart(this.watched.length ? { users: this.watched } : {});
  }

  /** The frames that may go now. They count as sent. */
  due(now) {
    return this.#kinds.map((wish) => wish.due(now)).filter((frame) => frame !== null);
  }

  /** The server took a wish, or refused it for good. False if the ref is none of ours. */
  answered(ref) {
    const wish = this.#underWay(ref);
    wish?.land();
    return wish !== undefined;
  }

  /** A wish was refused: it goes again at that moment. False if the ref is none of ours. */
  hold(ref, until) {
    const wish = this.#underWay(ref);
    wish?.hold(until);
    return wish !== undefined;
  }

  #underWay(ref) {
    return this.#kinds.find((wish) => ref != null && wish.ref === ref);
  }
}

/** The fields of one kind of frame that the server is to have. */
class Wish {
  #wanted = {};
  #flying = {};
  #sent = 0;
  #until = -Infinity;
  ref = null; // of the frame under way

  constructor(type) {
    this.type = type;
  }

  want(fields) {
    Object.assign(this.#wanted, fields);
  }

  due(now) {
    if (!Object.keys(this.#wanted).length || this.ref !== null || now < this.#until) return null;
    this.ref = `${this.type}-${(this.#sent += 1)}`;
    this.#flying = this.#wanted;
    this.#wanted = {};
    return { type: this.type, ...this.#flying, ref: this.ref };
  }

  land() {
    Object.assign(this, { ref: null });
    this.#flying = {};
  }

  /** What was under way is wished for again, unless something newer was. */
  hold(until) {
    this.#wanted = { ...this.#flying, ...this.#wanted };
    this.#until = until;
    this.land();
  }

  /** A new session is to know these fields, and what was not answered. */
  restart(fields) {
    this.hold(-Infinity);
    this.want(fields);
  }
}
