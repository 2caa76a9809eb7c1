/**
 * The messages of one conversation on screen: stored ones by position, then those still in the outbox.
 */

import { announcement } from "./announcements.js";
import { bytes } from "./bytes.js";
import { Items } from "./items.js";
import { standing } from "./standing.js";

const TICKS = {
  waiting: "Waiting to be sent",
  stored: "Stored, on its way to the other devices",
  delivered: "Delivered to every device",
  read: "Read",
};

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DAY = { weekday: "long", day: "numeric", month: "long" };
const day = new Intl.DateTimeFormat(undefined, DAY);
const dayOfAnotherYear = new Intl.DateTimeFormat(undefined, { ...DAY, year: "numeric" });

/** What the screen is to show, in order: [{key, type, isNews, …}]; news is what came after the change `since`. */
export function rows({ conversation, since, outbox, session, roster, nameOf }) {
  const waiting = outbox.filter((entry) => entry.conversation === conversation.id);
  const changes = new Map(waiting.filter(({ frame }) => frame.message).map(({ frame }) => [frame.message, frame]));
  const known = conversation.visible().map((message) => shown(message, changes.get(message.id)));
  const sends = waiting.filter(({ frame }) => frame.type === "send").map((entry) => pending(entry, session));
  const result = [];
  let before = null;
  for (const message of [...known, ...sends]) {
    const today = new Date(message.created).toDateString();
    const isGrouped = before?.today === today && before.user === message.user && before.kind !== "system";
    const isNews = Boolean(message.unsent) || message.position > since;
    const shows = { ...row(message, { isGrouped, conversation, session, roster, nameOf }), isNews };
    if (today !== before?.today) result.push({ key: `day of ${shows.key}`, type: "day", text: dayOf(message.created), isNews });
    result.push(shows);
    before = { today, user: message.user, kind: message.kind };
  }
  return result;
}

function dayOf(moment) {
  const isThisYear = new Date(moment).getFullYear() === new Date().getFullYear();
  return (isThisYear ? day : dayOfAnotherYear).format(moment);
}

/** A stored message as it will be once this device's own change of it is taken. */
function shown(message, change) {
  if (!change) return message;
  return change.type === "delete" ? { ...message, deleted: 1, waiting: true } : { ...message, body: change.body, waiting: true };
}

function pending({ id, frame, asked, files: attachments }, { user, device }) {
  return { id, client_id: id, kind: "text", body: frame.body, attachments, created: asked, user, device, waiting: true, unsent: true };
}

function row(message, { isGrouped, conversation, session, roster, nameOf }) {
  if (message.kind === "system") return { key: message.id, type: "system", text: announcement(message, nameOf) };
  const isOwn = message.user === session.user;
  return {
    // A message keeps its row from the outbox into the conversation.
    key: message.client_id && message.device === session.device ? message.client_id : message.id,
    type: "message",
    id: message.id,
    isOwn,
    isGrouped,
    author: isOwn ? "" : nameOf(message.user),
    body: message.deleted ? "This message was deleted" : message.body,
    kind: message.kind ?? "text",
    isDeleted: Boolean(message.deleted),
    isEdited: Boolean(message.edited) && !message.deleted,
    isUnsent: Boolean(message.unsent),
    isOver: conversation.left !== null,
    files: (!message.deleted && message.attachments) || [],
    created: message.created,
    ticks: !isOwn ? "" : message.waiting ? "waiting" : standing(message, conversation, roster),
  };
}

/** An <ol> that is kept in step with such rows; `preview` is told of each file's button. */
export function thread(list, { template, preview }) {
  const make = ({ type }) => (type === "message" ? template.content.firstElementChild.cloneNode(true) : line(type));
  const show = (element, row) => {
    element.ariaLive = row.isNews ? null : "off"; // or a screen reader would read all of a conversation that is turned to
    if (row.type === "message") fill(element, row, preview);
    else element.textContent = row.text;
  };
  return new Items(list, { make, fill: show });
}

function line(type) {
  const element = document.createElement("li");
  element.className = type;
  return element;
}

function fill(element, row, preview) {
  const part = (name) => element.querySelector(`.${name}`);
  element.dataset.message = row.id;
  element.classList.toggle("own", row.isOwn);
  element.classList.toggle("grouped", row.isGrouped);
  element.classList.toggle("deleted", row.isDeleted);
  element.classList.toggle("data", row.kind === "data");
  element.classList.toggle("waiting", row.ticks === "waiting");
  part("author").textContent = row.author;
  part("body").textContent = row.body;
  fillFiles(part("files"), row.files, preview);
  part("edited").hidden = !row.isEdited;
  part("meta").querySelector("time").dateTime = new Date(row.created).toISOString();
  part("meta").querySelector("time").textContent = clock.format(row.created);
  // A change on top of one that waits would be based on the version before it, and refused.
  part("tools").hidden = !row.isOwn || row.isDeleted || row.isOver || row.ticks === "waiting";
  part("ticks").hidden = !row.isOwn;
  part("ticks").disabled = row.isUnsent;
  part("ticks").dataset.ticks = row.ticks;
  part("ticks").title = TICKS[row.ticks] ?? "";
  part("ticks").querySelector(".hidden").textContent = TICKS[row.ticks] ?? "";
}

/** Draws the files anew only if they are others: a picture that was fetched stays. */
function fillFiles(list, files, preview) {
  const shows = JSON.stringify(files);
  if (list.dataset.shows === shows || (!files.length && !list.firstChild)) return;
  list.dataset.shows = shows;
  list.replaceChildren(...files.map(fileButton));
  for (const [place, file] of files.entries()) preview(list.children[place], file);
}

/** A file of a message: its name and size, and what fetches it. */
function fileButton(file) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "file";
  button.tabIndex = -1; // see walk.js
  button.dataset.file = JSON.stringify(file);
  button.title = `Fetch ${file.name}`;
  button.append(span("line", span("name", file.name), span("size", ` · ${bytes(file.size)}`)));
  return button;
}

function span(className, ...content) {
  const element = document.createElement("span");
  element.className = className;
  element.append(...content);
  return element;
}
