/** The sheet in which a user says how they are here: a text and its end, invisibility, and a look at the own devices. */

import { dot } from "./here.js";

const MINUTE_MS = 60_000;
const RANK = { online: 0, away: 1, offline: 2 };

export class Status {
  #names = new Map(); // device -> name, as the server has it
  #chosen = ""; // the end that the form showed first
  #shows = "";

  constructor(sheet) {
    this.sheet = sheet;
    this.form = sheet.querySelector("form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  /** Shows the status of a pane's user. */
  async open(pane) {
    this.pane = pane;
    const { text = "", until = null, invisible = false } = this.#own ?? {};
    const { form } = this;
    form.text.defaultValue = text;
    form.invisible.defaultChecked = invisible;
    form.reset();
    form.until.querySelector("[value=keep]").hidden = !until;
    if (until) form.until.value = "keep";
    this.#chosen = form.until.value;
    this.#tell("");
    this.#shows = "";
    this.refresh(pane);
    this.sheet.showModal();
    await this.#loadNames();
  }

  /** Shows the own devices of a pane's user as they are now, if the sheet is about them. */
  refresh(pane) {
    if (pane !== this.pane) return;
    const devices = [...(this.#own?.devices ?? [])].sort((one, other) => RANK[one.state] - RANK[other.state]);
    const shows = JSON.stringify([devices, [...this.#names]]);
    if (this.#shows === shows) return;
    this.#shows = shows;
    this.sheet.querySelector(".devices").replaceChildren(...devices.map((one) => this.#device(one)));
  }

  get #own() {
    const { client } = this.pane;
    return client.presence.users.get(client.session.user);
  }

  #device({ device, state }) {
    const item = document.createElement("li");
    const isThis = device === this.pane.client.session.device;
    const name = this.#names.get(device) ?? this.pane.desk.deviceName({ device });
    item.append(dot(state), `${name}${isThis ? " (this one)" : ""}`);
    return item;
  }

  async #loadNames() {
    try {
      const { devices } = await this.pane.client.request("/devices");
      for (const { device, name } of devices) if (name) this.#names.set(device, name);
      this.refresh(this.pane);
    } catch (error) {
      this.#tell(error.message);
    }
  }

  /** Says what was changed in the form; the rest may not have been known when it was opened, or is otherwise by now. */
  #save() {
    const { text, until, invisible } = this.form;
    const end = this.#end(until.value);
    const isSaid = text.value !== text.defaultValue || until.value !== this.#chosen;
    const isTurned = invisible.checked !== invisible.defaultChecked;
    const said = isSaid && { text: text.value.trim(), ...(end && { until: end }) };
    try {
      this.pane.client.setPresence({ ...said, ...(isTurned && { invisible: invisible.checked }) });
      this.sheet.close();
    } catch (error) {
      this.#tell(error.message);
    }
  }

  /** When the text ends, in ms since 1970; null if it stays. */
  #end(chosen) {
    if (chosen === "keep") return this.#own?.until ?? null;
    if (chosen === "today") return new Date().setHours(24, 0, 0, 0);
    return chosen ? Date.now() + Number(chosen) * MINUTE_MS : null;
  }

  #tell(problem) {
    const element = this.sheet.querySelector(".problem");
    element.hidden = !problem;
    element.textContent = problem;
  }
}
